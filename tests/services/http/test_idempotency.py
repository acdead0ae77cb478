"""`Idempotency-Key`: the answer to a request that comes again is the one that it had."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from pydantic import SecretStr

from protector_models.moderation.fakes import DeadVerdictCache, FakeGenerator, RecordedMetrics
from services.configuration import ModerationSettings
from services.http.idempotency import Idempotency
from services.http.refusals import RefusedRequestError
from services.http.settings import HttpSettings
from services.moderators import verdict_cache
from services.settings import RedisSettings
from tests.services.http.front import Front, error_of
from tests.services.http.keys import KEYS, bearer
from tests.wire import encode

PATH = "/v1/conversations:moderate"
EVENT = encode()


async def ask(front: Front, key: str, content: object = EVENT, *, path: str = PATH, **headers: str) -> httpx.Response:
    return await front.post(path, content, headers={"idempotency-key": key, **headers})


class OtherEachTime(FakeGenerator):
    """Answers each call otherwise, as sampling models do."""

    async def generate(self, events: Any) -> Any:
        self.revision = f"fake-mllm@{int(self.revision.rpartition('@')[2]) + 1}"
        return await super().generate(events)


async def test_a_request_that_comes_again_has_the_same_answer_and_no_model_is_asked() -> None:
    front = Front(generator=OtherEachTime())
    content = json.loads(encode(response=None))
    first = await ask(front, "once", content)
    second = await ask(front, "once", content)
    assert first.status_code == second.status_code == 200
    assert first.content == second.content
    assert "idempotent-replayed" not in first.headers
    assert second.headers["idempotent-replayed"] == "true"
    assert (await ask(front, "another", content)).content != first.content


async def test_a_batch_comes_again_too() -> None:
    front = Front()
    content = {"events": [json.loads(EVENT)] * 2}
    first, second = await ask(front, "k", content), await ask(front, "k", content)
    assert first.content == second.content
    assert second.headers["idempotent-replayed"] == "true"


@pytest.mark.parametrize(
    ("content", "path"), [(encode(response="other"), PATH), (EVENT, f"{PATH}?shadow=true"), (b'{"events":[]}', PATH)]
)
async def test_a_key_that_stands_for_another_request_is_refused(content: bytes, path: str) -> None:
    front = Front()
    await ask(front, "k")
    assert error_of(await ask(front, "k", content, path=path), 422)["code"] == "idempotency_key_reused"


async def test_a_refusal_is_not_kept() -> None:
    front = Front()
    front.detector.unavailable = True
    assert (await ask(front, "k")).status_code == 503
    assert (await ask(front, "k", b"{}")).status_code == 400
    front.detector.unavailable = False
    answer = await ask(front, "k")
    assert answer.status_code == 200
    assert "idempotent-replayed" not in answer.headers


async def test_the_same_key_of_two_tenants_is_two_keys() -> None:
    front = Front(settings=HttpSettings(keys=KEYS))
    content = encode("tenant")
    acme = await ask(front, "k", content, **bearer("acme"))
    kids = await ask(front, "k", content, **bearer("kids"))
    assert (acme.json()["tenant"], kids.json()["tenant"]) == ("acme", "kids")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "\t"])
async def test_what_is_no_key_is_refused(key: str) -> None:
    assert error_of(await ask(Front(), key), 400)["param"] == "Idempotency-Key"


async def test_one_of_two_requests_at_the_same_time_is_told_to_wait() -> None:
    idempotency, cache = Idempotency(), Front().cache
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def make() -> bytes:
        begun.set()
        await go_on.wait()
        return b"answer"

    first = asyncio.create_task(idempotency.answer_once("k", b"r", make, tenant="", cache=cache))
    await begun.wait()
    with pytest.raises(RefusedRequestError) as refused:
        await idempotency.answer_once("k", b"r", make, tenant="", cache=cache)
    assert refused.value.code == "idempotency_key_in_use"
    go_on.set()
    assert (await first).body == b"answer"
    assert (await idempotency.answer_once("k", b"r", make, tenant="", cache=cache)).is_repeated


async def test_a_request_that_was_given_up_frees_its_key() -> None:
    idempotency, cache = Idempotency(), Front().cache

    async def hang() -> bytes:
        await asyncio.Event().wait()
        raise AssertionError

    async def make() -> bytes:
        return b"answer"

    first = asyncio.create_task(idempotency.answer_once("k", b"r", hang, tenant="", cache=cache))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    assert (await idempotency.answer_once("k", b"r", make, tenant="", cache=cache)).body == b"answer"


async def test_where_the_cache_is_down_each_request_is_answered_anew() -> None:
    async def make() -> bytes:
        return b"answer"

    answer = Idempotency().answer_once
    for _ in range(2):
        given = await answer("k", b"r", make, tenant="", cache=DeadVerdictCache())
        assert (given.body, given.is_repeated) == (b"answer", False)


@pytest.mark.redis
async def test_with_redis_an_answer_of_one_replica_is_given_again_by_another(redis_url: str) -> None:
    made = 0

    async def make() -> bytes:
        nonlocal made
        made += 1
        return b"answer \xff"

    settings = ModerationSettings(redis=RedisSettings(url=SecretStr(redis_url), timeout_s=10.0))
    async with verdict_cache(settings, RecordedMetrics()) as one, verdict_cache(settings, RecordedMetrics()) as other:
        key = uuid4().hex
        first = await Idempotency().answer_once(key, b"r", make, tenant="acme", cache=one)
        again = await Idempotency().answer_once(key, b"r", make, tenant="acme", cache=other)
    assert (first.body, first.is_repeated) == (b"answer \xff", False)
    assert (again.body, again.is_repeated) == (b"answer \xff", True)
    assert made == 1

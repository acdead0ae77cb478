"""Batches to a chat endpoint that is busy, fails, or is late: busy is nobody's fault, and what was answered is kept."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.endpoints.chat_answers import Completion
from protector_models.endpoints.chat_completions import ChatCompletions
from protector_models.endpoints.chat_connection import connect_chat
from protector_models.endpoints.chat_sender import ChatRequest
from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.model_outputs import ItemFailure
from tests.protector_models.endpoints.chat_server import BUSY, ChatServer, Reply, answer, open_chat_server


@asynccontextmanager
async def open_chat(server: ChatServer, **fields: Any) -> AsyncIterator[ChatCompletions]:
    settings = MllmSettings(**{"kind": "openai", "base_url": server.base_url, "model": "m", **fields})
    chat = connect_chat(settings, section="mllm", options={}, asked={})
    try:
        yield chat
    finally:
        await chat.close()


def ask(*prompts: str) -> list[ChatRequest]:
    return [ChatRequest(messages=[{"role": "user", "content": prompt}]) for prompt in prompts]


def prompt_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def texts_of(outcomes: Sequence[Completion | ItemFailure]) -> list[str]:
    return [outcome.text if isinstance(outcome, Completion) else outcome.error for outcome in outcomes]


class RateLimit:
    """Answers so many requests a second, and the others with a status."""

    def __init__(self, per_s: float, busy: Reply) -> None:
        self._per_s = per_s
        self._busy = busy
        self._began_at = time.monotonic()
        self._num_answered = 0

    def __call__(self, _number: int, body: dict[str, Any]) -> Reply:
        """Answer one request."""
        if self._num_answered > (time.monotonic() - self._began_at) * self._per_s:
            return self._busy
        self._num_answered += 1
        return answer(prompt_of(body))


@pytest.mark.parametrize("busy", [BUSY, Reply(status=503), Reply(status=408, headers={"Retry-After": "0"})])
async def test_every_request_to_an_endpoint_that_takes_few_a_second_is_answered(busy: Reply) -> None:
    prompts = [str(number) for number in range(64)]
    async with open_chat_server(RateLimit(30, busy)) as server, open_chat(server) as chat:
        assert texts_of(await chat.complete(ask(*prompts))) == prompts


async def test_a_request_that_waits_for_its_slot_is_not_late() -> None:
    async with (
        open_chat_server(lambda _number, body: Reply(body=answer(prompt_of(body)).body, delay_s=0.2)) as server,
        open_chat(server, concurrency=2, deadline_s=3.0, timeout_s=3.0) as chat,
    ):
        prompts = [str(number) for number in range(40)]
        assert texts_of(await chat.complete(ask(*prompts))) == prompts


def in_a_second() -> str:
    # A date has whole seconds: one and a bit.
    return format_datetime(datetime.now(UTC) + timedelta(seconds=1.9), usegmt=True)


@pytest.mark.parametrize("retry_after", [lambda: "1", in_a_second], ids=["seconds", "a date"])
async def test_a_wait_that_the_endpoint_asks_for_is_kept(retry_after: Callable[[], str]) -> None:
    asked_at: list[float] = []

    def busy_once(number: int, _body: dict[str, Any]) -> Reply:
        asked_at.append(time.monotonic())
        return answer("a") if number else Reply(status=429, headers={"Retry-After": retry_after()})

    async with open_chat_server(busy_once) as server, open_chat(server) as chat:
        assert texts_of(await chat.complete(ask("a"))) == ["a"]
    assert 0.85 < asked_at[1] - asked_at[0] < 10


async def test_a_wait_beyond_the_deadline_is_not_begun() -> None:
    reply = Reply(status=429, headers={"Retry-After": "3600"})
    async with (
        open_chat_server(lambda _number, _body: reply) as server,
        open_chat(server, deadline_s=600.0) as chat,
        asyncio.timeout(30),
    ):
        with pytest.raises(ModelUnavailableError, match="status 429"):
            await chat.complete(ask("a"))
        assert len(server.bodies) == 1


@pytest.mark.parametrize("status", [408, 409, 429, 503, 529, 401, 404])
async def test_what_speaks_of_the_endpoint_convicts_nobody_and_what_was_answered_is_asked_once(status: int) -> None:
    def busy_for(_number: int, body: dict[str, Any]) -> Reply:
        is_held = prompt_of(body) == "held" and not released
        return Reply(status=status, headers={"Retry-After": "0"}) if is_held else answer(prompt_of(body))

    released = False
    async with open_chat_server(busy_for) as server, open_chat(server, deadline_s=2.0) as chat:
        with pytest.raises(ModelUnavailableError, match=f"status {status}"):
            await chat.complete(ask("a", "held", "b"))
        released = True
        server.bodies.clear()
        assert texts_of(await chat.complete(ask("a", "held", "b"))) == ["a", "held", "b"]
        assert [prompt_of(body) for body in server.bodies] == ["held"]
        # Kept for one try: an answer is not a cache.
        assert texts_of(await chat.complete(ask("a"))) == ["a"]
        assert len(server.bodies) == 2


async def test_what_was_answered_is_kept_where_the_caller_stops_waiting() -> None:
    async with (
        open_chat_server(
            lambda _number, body: Reply(body=answer(prompt_of(body)).body, delay_s=60 * (prompt_of(body) == "slow"))
        ) as server,
        open_chat(server) as chat,
    ):
        call = asyncio.create_task(chat.complete(ask("a", "slow")))
        await server.arrivals.get()
        await server.arrivals.get()
        await asyncio.sleep(0.3)
        call.cancel()
        await asyncio.wait([call])
        num_asked = len(server.bodies)
        assert texts_of(await chat.complete(ask("a"))) == ["a"]
        assert len(server.bodies) == num_asked


async def test_an_outage_that_begins_within_a_batch_convicts_nobody() -> None:
    def fail_after_ten(number: int, body: dict[str, Any]) -> Reply:
        return answer(prompt_of(body)) if number < 10 else Reply(status=500, headers={"Retry-After": "0"})

    async with open_chat_server(fail_after_ten) as server, open_chat(server, concurrency=4) as chat:
        with pytest.raises(ModelUnavailableError, match="status 500"):
            await chat.complete(ask(*map(str, range(20))))


async def test_one_request_alone_on_which_the_endpoint_fails_decides_nothing() -> None:
    async with (
        open_chat_server(lambda _number, _body: Reply(status=500, headers={"Retry-After": "0"})) as server,
        open_chat(server) as chat,
    ):
        with pytest.raises(ModelUnavailableError, match="status 500 on 4 tries"):
            await chat.complete(ask("a"))


async def test_those_that_wait_do_not_each_find_out_that_the_endpoint_is_gone() -> None:
    async with (
        open_chat_server(lambda _number, _body: BUSY) as server,
        open_chat(server, concurrency=1, deadline_s=0.3) as chat,
        asyncio.timeout(10),
    ):
        with pytest.raises(ModelUnavailableError):
            await chat.complete(ask(*map(str, range(200))))


SCRIPTS = st.lists(st.sampled_from([200, 200, 429, 500, 503]), max_size=3)


@given(scripts=st.lists(SCRIPTS, min_size=1, max_size=3), poisoned=st.sets(st.integers(0, 2)))
async def test_only_what_always_breaks_the_endpoint_fails_however_the_endpoint_behaves(
    scripts: list[list[int]], poisoned: set[int]
) -> None:
    """Each request meets the statuses of its script in turn; afterwards it is answered, or breaks the endpoint."""
    met: dict[str, int] = {}

    def reply(_number: int, body: dict[str, Any]) -> Reply:
        prompt = prompt_of(body)
        place = met[prompt] = met.get(prompt, -1) + 1
        script = scripts[int(prompt)]
        busy = script[place] if place < len(script) else 200
        if busy != 200:
            return Reply(status=busy, headers={"Retry-After": "0"})
        return Reply(status=500, headers={"Retry-After": "0"}) if int(prompt) in poisoned else answer(prompt)

    prompts = [str(number) for number in range(len(scripts))]
    async with open_chat_server(reply) as server, open_chat(server, deadline_s=20.0, max_attempts=2) as chat:
        for _ in range(3):
            try:
                outcomes = texts_of(await chat.complete(ask(*prompts)))
            except ModelUnavailableError:
                continue
            assert outcomes == [
                "EndpointError" if number in poisoned else prompt for number, prompt in enumerate(prompts)
            ]

"""How much a tenant may ask for: refusals, headers, and who shares what."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from services.http.refusals import RefusedRequestError
from services.http.settings import HttpSettings, RateLimit, RateLimitSettings
from tests.services.http.front import Front, error_of
from tests.services.http.keys import KEYS, bearer

PATH = "/v1/moderations"
NAMES = ("limit", "remaining", "reset")


def front(*, keys: bool = False, default: RateLimit | None = None, **tenants: RateLimit) -> Front:
    limits = RateLimitSettings(default=default or RateLimit(), tenants=tenants)
    return Front(settings=HttpSettings(rate_limits=limits, keys=KEYS if keys else ()))


def headers_of(answer: object, what: str = "requests") -> list[str | None]:
    return [answer.headers.get(f"x-ratelimit-{name}-{what}") for name in NAMES]  # type: ignore[attr-defined]


async def test_beyond_its_requests_a_tenant_is_told_when_to_come_again() -> None:
    limited = front(default=RateLimit(requests_per_minute=2))
    answers = [await limited.post(PATH, {"input": "fine"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    error = error_of(answers[2], 429)
    assert (error["code"], error["type"], error["param"]) == ("rate_limited", "rate_limit_error", None)
    assert 50 <= int(answers[2].headers["retry-after"]) <= 61
    assert [headers_of(answer)[:2] for answer in answers] == [["2", "1"], ["2", "0"], ["2", "0"]]
    assert limited.metrics.total("weir_http_results_total") == 2


@pytest.mark.parametrize("path", ["/v1/moderations", "/v1/chat/moderations", "/v1/conversations:moderate"])
async def test_every_answer_to_a_limited_tenant_says_what_is_left_whatever_the_answer(path: str) -> None:
    limited = front(default=RateLimit(requests_per_minute=9))
    answer = await limited.post(path, b"{")
    assert error_of(answer, 400)["code"] == "invalid_json"
    limit, remaining, reset = headers_of(answer)
    assert (limit, remaining) == ("9", "8")
    assert reset in {"1m0s", "1m1s"}


async def test_who_has_no_limit_hears_of_none() -> None:
    assert headers_of(await Front().post(PATH, {"input": "fine"})) == [None] * 3


async def test_pages_that_cost_nothing_are_not_limited() -> None:
    limited = front(default=RateLimit(requests_per_minute=1))
    for _ in range(3):
        assert (await limited.get("/healthz")).status_code == 200
        assert (await limited.get("/v1/policies")).status_code == 200
    assert (await limited.post(PATH, {"input": "fine"})).status_code == 200


async def test_tenants_are_counted_apart_and_what_one_has_of_its_own_stands_in_the_defaults_place() -> None:
    limited = front(keys=True, default=RateLimit(requests_per_minute=1), acme=RateLimit(requests_per_minute=2))
    found = {
        tenant: [(await limited.post(PATH, {"input": "fine"}, headers=bearer(tenant))).status_code for _ in range(3)]
        for tenant in ("acme", "kids")
    }
    assert found == {"acme": [200, 200, 429], "kids": [200, 429, 429]}


async def test_who_has_no_key_uses_up_nobodys_requests() -> None:
    limited = front(keys=True, default=RateLimit(requests_per_minute=1))
    assert headers_of(answer := await limited.post(PATH, {"input": "fine"})) == [None] * 3
    assert answer.status_code == 401
    assert (await limited.post(PATH, {"input": "fine"}, headers=bearer("acme"))).status_code == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (PATH, {"input": ["one", "two", "three"]}),
        ("/v1/chat/moderations", {"input": [[{"role": "assistant", "content": "x"}]] * 3}),
        ("/v1/conversations:moderate", {"events": [{}] * 3}),
    ],
)
async def test_beyond_its_items_a_tenant_is_refused_and_nothing_is_judged(path: str, body: object) -> None:
    limited = front(default=RateLimit(items_per_minute=5))
    first, second = await limited.post(path, body), await limited.post(path, body)
    assert (first.status_code, headers_of(first, "items")[:2]) == (200, ["5", "2"])
    num_judged = len(limited.detector.assessed)
    assert error_of(second, 429)["code"] == "rate_limited"
    assert len(limited.detector.assessed) == num_judged
    assert headers_of(second, "items")[:2] == ["5", "2"]


async def test_more_items_than_there_may_ever_be_are_not_worth_trying_again() -> None:
    limited = front(default=RateLimit(items_per_minute=2))
    answer = await limited.post(PATH, {"input": ["one", "two", "three"]})
    assert error_of(answer, 400)["code"] == "too_many_items"
    assert (await limited.post(PATH, {"input": ["one", "two"]})).status_code == 200


@given(st.lists(st.integers(1, 3), max_size=10), st.integers(3, 8))
async def test_no_more_is_judged_in_a_minute_than_the_limit(sizes: list[int], limit: int) -> None:
    limited = front(default=RateLimit(items_per_minute=limit))
    for number, size in enumerate(sizes):
        texts = [f"text {number} {position}" for position in range(size)]
        answer = await limited.post(PATH, {"input": texts})
        assert answer.status_code in {200, 429}
    assert len(limited.detector.assessed) <= limit


@pytest.mark.parametrize(
    "limits",
    [
        {"default": {"requests_per_minute": 0}},
        {"default": {"items_per_minute": -1}},
        {"default": {"requests_per_minute": "many"}},
        {"default": {"requests": 5}},
        {"tenants": {"nobody": {"requests_per_minute": 5}}},
    ],
)
def test_limits_that_mean_nothing_are_refused(limits: object) -> None:
    with pytest.raises(ValidationError, match="rate_limits"):
        HttpSettings.model_validate({"rate_limits": limits, "keys": [key.model_dump() for key in KEYS]})


def test_a_refusal_says_when_also_after_it_was_pickled() -> None:
    refusal = RefusedRequestError("rate_limited", "expected less", retry_after_s=7)
    assert pickle.loads(pickle.dumps(refusal)).retry_after_s == 7

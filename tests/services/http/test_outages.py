"""What is delivered over HTTP while something is away: each dependency, for tenants that fail closed, and open."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import SecretStr

from protector_models.moderation.fakes import DeadVerdictCache, FakeGenerator, RecordedMetrics
from protector_models.moderation.policy.policy import Policy, TenantOverrides
from services.http.settings import HttpSettings, RateLimit, RateLimitSettings
from services.settings import RedisSettings
from services.stores.redis_charges import make_charges
from services.stores.verdict_cache import RedisVerdictCache
from tests.builders import SAFE_TEXT, policy
from tests.services.http.front import HARM_ME, Front, error_of
from tests.services.http.keys import KEYS, bearer
from tests.wire import encode

PATH = "/v1/conversations:moderate"
TENANTS = {"closed": "acme", "open": "kids"}
"""By what their policies say."""
UNREACHABLE = RedisSettings(url=SecretStr("redis://127.0.0.1:1/0"), timeout_s=2, breaker_failures=1)


def rules() -> Policy:
    outages = ("on_detector_outage", "on_detoxifier_outage", "on_mllm_outage")
    return policy(tenants={TENANTS["open"]: TenantOverrides.model_validate(dict.fromkeys(outages, "open"))})


@asynccontextmanager
async def open_front(away: str) -> AsyncIterator[Front]:
    """Open a front with all its fakes, and something away; where that is Redis, tenants are limited."""
    metrics = RecordedMetrics()
    cache = RedisVerdictCache.from_settings(UNREACHABLE, metrics=metrics) if away == "redis" else None
    charges = make_charges(UNREACHABLE, metrics=metrics) if away == "redis" else None
    limits = RateLimitSettings(default=RateLimit(requests_per_minute=2))
    front = Front(
        settings=HttpSettings(keys=KEYS, rate_limits=limits if away == "redis" else RateLimitSettings()),
        policy=rules(),
        generator=FakeGenerator(),
        metrics=metrics,
        cache=cache or DeadVerdictCache(),
        charges=charges,
    )
    models: Mapping[str, Any] = {"detector": front.detector, "detoxifier": front.detoxifier, "mllm": front.generator}
    if away in models:
        models[away].unavailable = True
    try:
        yield front
    finally:
        if cache is not None:
            await cache.close()
        if charges is not None:
            await charges.close()


@dataclass(frozen=True, kw_only=True)
class Case:
    """A call while something is away, and what is to come of it."""

    away: str
    fails: str
    response: str | None = "Take the bus."
    status: int = 200
    action: str | None = None
    delivered: str | None = None
    stages: Mapping[str, str] = field(default_factory=dict)
    """Of `evaluation_status`."""
    counters: frozenset[tuple[str, str]] = frozenset()
    """Of outages that went up: names and dependencies."""

    def __str__(self) -> str:
        return f"{self.away} away, {self.fails}, {self.response}"


def failed(fails: str, dependency: str) -> frozenset[tuple[str, str]]:
    return frozenset({(f"weir_failed_{fails}_total", dependency)})


UNJUDGED = {"assessment": "failed", "rewrite": "skipped"}
JUDGED = {"assessment": "complete", "rewrite": "skipped"}
REWRITTEN = {"assessment": "complete", "rewrite": "complete", "verification": "complete"}

CASES = [
    Case(away="detector", fails="closed", status=503, counters=failed("closed", "detector")),
    Case(
        away="detector",
        fails="open",
        action="allow",
        delivered="Take the bus.",
        stages=UNJUDGED,
        counters=failed("open", "detector"),
    ),
    Case(away="detoxifier", fails="closed", response=HARM_ME, status=503, counters=failed("closed", "detoxifier")),
    Case(
        away="detoxifier",
        fails="open",
        response=HARM_ME,
        action="rewrite",
        delivered=SAFE_TEXT,
        stages=REWRITTEN,
        counters=failed("open", "detoxifier"),
    ),
    Case(away="detoxifier", fails="closed", action="allow", delivered="Take the bus.", stages=JUDGED),
    Case(away="detoxifier", fails="open", action="allow", delivered="Take the bus.", stages=JUDGED),
    Case(away="mllm", fails="closed", response=None, status=503, counters=failed("closed", "mllm")),
    Case(away="mllm", fails="open", response=None, status=503, counters=failed("open", "mllm")),
    Case(away="mllm", fails="closed", action="allow", delivered="Take the bus.", stages=JUDGED),
    *(
        Case(away="redis", fails=fails, response=response, action=action, delivered=delivered, stages=stages)
        for fails in TENANTS
        for response, action, delivered, stages in (
            ("Take the bus.", "allow", "Take the bus.", JUDGED),
            (HARM_ME, "rewrite", "rewritten, attempt 0", REWRITTEN),
        )
    ),
]


def event(response: str | None) -> bytes:
    return encode("tenant", response=response)


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_what_is_delivered_while_something_is_away(case: Case) -> None:
    async with open_front(case.away) as front:
        answer = await front.post(PATH, event(case.response), headers=bearer(TENANTS[case.fails]))
        if case.status != 200:
            error = error_of(answer, case.status)
            assert (error["code"], error["type"]) == ("model_unavailable", "server_error")
            assert int(answer.headers["retry-after"]) >= 1
        else:
            assert answer.status_code == 200, answer.text
            found = answer.json()
            assert (found["action"], found["response"]) == (case.action, case.delivered)
            assert found["evaluation_status"].items() >= case.stages.items()
            assert (found["assessment"] is None) == (case.stages == UNJUDGED)
        counted = {
            (name, dict(labels)["dependency"])
            for name, labels in front.metrics.counts
            if name in {"weir_failed_open_total", "weir_failed_closed_total"}
        }
        assert counted == case.counters
        if case.away == "redis":
            assert front.metrics.total("weir_cache_errors_total") > 0


@pytest.mark.parametrize("fails", TENANTS)
async def test_while_redis_is_away_limits_are_the_replicas_own_whatever_the_policy_says(fails: str) -> None:
    async with open_front("redis") as front:
        statuses = [
            (await front.post(PATH, event("Take the bus."), headers=bearer(TENANTS[fails]))).status_code
            for _ in range(3)
        ]
        assert statuses == [200, 200, 429]
        assert front.metrics.total("weir_rate_limit_errors_total") == 2


async def test_in_a_batch_an_event_without_an_mllm_fails_alone_for_who_goes_on() -> None:
    async with open_front("mllm") as front:
        body = b'{"events": [%b, %b]}' % (event(None), event("Take the bus."))
        answer = await front.post(PATH, body, headers=bearer(TENANTS["open"]))
        first, second = answer.json()["results"]
        assert first["error"]["code"] == "model_unavailable"
        assert second["response"] == "Take the bus."
        closed = await front.post(PATH, body, headers=bearer(TENANTS["closed"]))
        assert error_of(closed, 503)["code"] == "model_unavailable"


async def test_openais_result_of_what_was_not_judged_is_not_flagged_and_says_that_nothing_looked_at_it() -> None:
    async with open_front("detector") as front:
        answer = await front.post("/v1/moderations", {"input": HARM_ME}, headers=bearer(TENANTS["open"]))
        (result,) = answer.json()["results"]
        assert result["flagged"] is False
        assert not any(result["category_applied_input_types"].values())
        assert result["weir"]["harmfulness"] is None
        assert result["weir"]["evaluation_status"]["assessment"] == "failed"
        refused = await front.post("/v1/moderations", {"input": HARM_ME}, headers=bearer(TENANTS["closed"]))
        assert error_of(refused, 503)["code"] == "model_unavailable"


async def test_when_a_detector_is_back_it_is_asked_again() -> None:
    async with open_front("detector") as front:
        for is_away in (True, False):
            front.detector.unavailable = is_away
            answer = await front.post(PATH, event(HARM_ME), headers=bearer(TENANTS["open"]))
            assert (answer.json()["response"] == HARM_ME) == is_away

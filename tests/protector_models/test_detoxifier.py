"""The detoxifier that delivers the policy's safe completions."""

from protector_models.detoxifier import SafeCompletionDetoxifier
from protector_models.moderation.fakes import FakeHarmDetector, RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy import TenantOverrides
from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import Rewrite, Verdict
from tests.builders import event, exchange, policy


def request(safe_completion: str, *, attempt: int = 0) -> RewriteRequest:
    """Build a request."""
    return RewriteRequest(exchange=exchange(), category="hate", attempt=attempt, safe_completion=safe_completion)


async def test_each_request_gets_its_own_safe_completion() -> None:
    rewrites = await SafeCompletionDetoxifier().rewrite([request("one"), request("two")])

    assert rewrites == [Rewrite(text=text, detoxifier="safe-completion@1") for text in ("one", "two")]


async def test_a_second_attempt_writes_the_same_again() -> None:
    (rewrite,) = await SafeCompletionDetoxifier().rewrite([request("one", attempt=1)])

    assert rewrite == Rewrite(text="one", detoxifier="safe-completion@1")


async def test_a_tenant_gets_its_own_text_also_where_another_tenant_had_the_same_exchange_before() -> None:
    moderator = Moderator(
        policy=policy(tenants={"bank": TenantOverrides(safe_completions={"default": "Ask your bank."})}),
        detector=FakeHarmDetector(),
        detoxifier=SafeCompletionDetoxifier(),
        cache=MemoryVerdictCache(max_entries=100),
        metrics=RecordedMetrics(),
    )
    shared = await moderator.moderate([event("harm=0.9")])
    own = await moderator.moderate([event("harm=0.9", tenant="bank")])

    texts = [outcome.response for outcome in (*shared, *own) if isinstance(outcome, Verdict)]
    assert texts == [policy().safe_completion(None), "Ask your bank."]

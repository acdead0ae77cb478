"""Events as the bytes that come in, right and wrong, and a Moderator over fakes for them."""

import json

from pydantic import JsonValue

from protector_models.moderation.fakes import FakeHarmDetector, RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.policy.policy import Policy
from protector_models.policies.policy_file import load_policy

MAX_BYTES = 1_000_000

EVENT: dict[str, JsonValue] = {
    "schema_version": 1,
    "event_id": "event-1",
    "conversation_id": "conversation-1",
    "tenant": "default",
    "occurred_at": "2026-01-31T12:00:00Z",
    "messages": [{"role": "user", "content": "How do I get home?"}],
    "response": "Take the bus.",
    "metadata": {},
}


def encode(*without: str, **changes: JsonValue) -> bytes:
    """Write an event with some fields changed, added or left out."""
    return json.dumps({name: value for name, value in (EVENT | changes).items() if name not in without}).encode()


def fake_moderator(detector: FakeHarmDetector | None = None, *, policy: Policy | None = None) -> Moderator:
    """Build a Moderator whose models and cache are fakes; without a policy it has the default one."""
    return Moderator(
        policy=policy or load_policy(None),
        detector=detector or FakeHarmDetector(),
        cache=MemoryVerdictCache(max_entries=1_000),
        metrics=RecordedMetrics(),
    )

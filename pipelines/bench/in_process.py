"""The Moderator in this process, without Kafka, Ray and Redis: how fast it is, and what of its outputs it keeps."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.bench.stream_events import BenchmarkError, Conversation, make_records
from pipelines.settings import WeirSettings
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.moderation.ports import Moderates
from protector_models.moderation.wire.encoded import EncodedVerdict, moderate_encoded
from services.moderators import trial_moderator
from services.policies_in_force import load_policy_in_force

_WARM_UP_RECORDS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class InProcess:
    """What came of moderating conversations twice, the second time with a warm cache."""

    per_s: float
    """The first time."""
    kept: tuple[Conversation, ...]
    """The second time no model was asked for these."""
    never_kept: Counter[str]
    """How many there are of the others, by the reason for which their rewrite was refused.

    Only outputs are kept, and a failure is none: it may pass. A harmful response in which the edit model finds nothing
    to edit is such a failure, so that model is asked again each time, before another method writes the rewrite.
    """


async def moderate_in_process(settings: WeirSettings, conversations: Sequence[Conversation]) -> InProcess:
    """Moderate conversations, cut into batches as the stream cuts a backlog.

    Raises:
        BenchmarkError: some cannot be moderated.
    """
    policy = load_policy_in_force(settings)
    async with trial_moderator(settings, policy) as moderator:
        await _moderate(settings, moderator, conversations[:_WARM_UP_RECORDS])
    async with trial_moderator(settings, policy) as moderator:
        started = time.perf_counter()
        await _moderate(settings, moderator, conversations)
        per_s = len(conversations) / (time.perf_counter() - started)
        results = await _moderate(settings, moderator, conversations)
    pairs = list(zip(conversations, results, strict=True))
    return InProcess(
        per_s=per_s,
        kept=tuple(conversation for conversation, result in pairs if result.cached),
        never_kept=Counter(
            str(json.loads(result.value)["rewrite_refused_reason"]) for _, result in pairs if not result.cached
        ),
    )


async def _moderate(
    settings: WeirSettings, moderator: Moderates, conversations: Sequence[Conversation]
) -> list[EncodedVerdict]:
    values = [record.value for record in make_records(conversations, "cold", len(conversations))]
    results = []
    for batch in split_by_count(values, settings.stream.batch_max_records):
        results += await moderate_encoded(moderator, batch, max_bytes=settings.stream.event_max_bytes)
    verdicts = [result for result in results if isinstance(result, EncodedVerdict)]
    if len(verdicts) < len(results):
        raise BenchmarkError(f"in process: {len(results) - len(verdicts)} conversations could not be moderated")
    return verdicts

"""Labelled answers through a Moderator, as conversations of one turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from protector_models.evaluation.record_sets import to_exchange
from protector_models.moderation.conversation import ConversationEvent, Exchange, Message
from protector_models.moderation.policy import TenantRules
from protector_models.moderation.ports import Moderates
from protector_models.moderation.verdict import Action, Verdict
from protector_models.training.records import LabelledRecord

TENANT = "default"
_BATCH_SIZE = 64
# Any time will do: no model sees it.
_OCCURRED_AT = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeratedRow:
    """An answer and what became of it."""

    exchange: Exchange
    verdict: Verdict

    def decision_of(self, rules: TenantRules) -> Action:
        """Returns what the rules say of the answer, whatever could be done about it."""
        assessment = self.verdict.assessment
        return self.verdict.action if assessment is None else rules.decide(assessment).action


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeratedRows:
    """The answers of a set that ended with a verdict, in order."""

    rows: list[ModeratedRow]
    num_failed: int
    """Answers that ended without one, or have no UTF-8 form."""
    tenant: str
    """Whose rules were applied."""
    ms_per_text: float | None
    """None without answers."""


async def moderate_records(
    moderator: Moderates,
    records: Sequence[LabelledRecord],
    *,
    clock: Callable[[], float],
    report_rows: Callable[[int], None],
) -> ModeratedRows:
    """Moderates the answer of each record, in batches.

    Args:
        moderator: what is measured.
        records: answers with their prompts.
        clock: gives seconds.
        report_rows: called with the number of records since the last call.

    Raises:
        DependencyError: a model is gone or late.
    """
    rows: list[ModeratedRow] = []
    seconds = 0.0
    for start in range(0, len(records), _BATCH_SIZE):
        batch = records[start : start + _BATCH_SIZE]
        exchanges = [exchange for record in batch if (exchange := to_exchange(record)) is not None]
        events = [_to_event(exchange, start + place) for place, exchange in enumerate(exchanges)]
        began = clock()
        outcomes = await moderator.moderate(events)
        seconds += clock() - began
        rows += [
            ModeratedRow(exchange=exchange, verdict=outcome)
            for exchange, outcome in zip(exchanges, outcomes, strict=True)
            if isinstance(outcome, Verdict)
        ]
        report_rows(len(batch))
    return ModeratedRows(
        rows=rows,
        num_failed=len(records) - len(rows),
        tenant=TENANT,
        ms_per_text=1_000.0 * seconds / len(records) if records else None,
    )


def _to_event(exchange: Exchange, number: int) -> ConversationEvent:
    return ConversationEvent(
        schema_version=1,
        event_id=f"row-{number}",
        conversation_id=f"row-{number}",
        tenant=TENANT,
        occurred_at=_OCCURRED_AT,
        messages=(Message(role="user", content=exchange.prompt),),
        response=exchange.response,
    )

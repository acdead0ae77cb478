"""Labelled answers through a Moderator, as conversations of one turn."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from protector_models.moderation.batch_cuts import split_by_count
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.one_turn import make_turn
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import Moderates
from protector_models.moderation.verdict import Action, Verdict
from protector_models.records.labelled_records import LabelledRecord
from protector_models.records.record_sets import to_exchange

TENANT = "default"
_BATCH_SIZE = 64


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
    for number, batch in enumerate(split_by_count(records, _BATCH_SIZE)):
        exchanges = [exchange for record in batch if (exchange := to_exchange(record)) is not None]
        events = [
            make_turn(exchange.prompt, exchange.response, event_id=f"row-{number * _BATCH_SIZE + place}", tenant=TENANT)
            for place, exchange in enumerate(exchanges)
        ]
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

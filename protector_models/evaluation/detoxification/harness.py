"""Measures a detoxifier on the three kinds of sets: toxic texts with rewrites, harmless answers, harmful answers."""

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

from protector_models.evaluation.detoxification.bench import Bench, ReportRows
from protector_models.evaluation.detoxification.moderated import ModeratedRow, moderate_records
from protector_models.evaluation.detoxification.pair_sets import (
    DELETE,
    REFERENCE,
    WEIR,
    edit_texts,
    group_pairs,
    write_rows,
)
from protector_models.evaluation.detoxification.report import (
    HarmfulSetReport,
    MadeRewrites,
    PairSetReport,
    SafeSetReport,
)
from protector_models.evaluation.detoxification.text_scores import (
    compare_j,
    compare_references,
    estimate_share,
    score_rewrites,
    summarise_row,
    to_span,
)
from protector_models.judges.refusals import is_refusal
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.verdict import Action
from protector_models.records.labelled_records import LabelledRecord


def evaluate_pairs(bench: Bench, records: Sequence[LabelledRecord], report_rows: ReportRows) -> PairSetReport:
    """Measures the rows on toxic texts with rewrites.

    Args:
        bench: what is measured.
        records: with text and pair.
        report_rows: called with the number of texts edited since the last call.
    """
    items = group_pairs(records)
    edited = edit_texts(bench.editor, [item.source for item in items], clock=bench.clock, report_rows=report_rows)
    rows = write_rows(items, bench.judges.toxic_words, edited)
    scores = {name: score_rewrites(items, outputs, bench.judges.texts) for name, outputs in rows.items()}
    others = {REFERENCE: compare_references(items)}
    ratio = compare_j(scores[WEIR], scores[DELETE])
    return PairSetReport(
        n=len(items),
        pairs=sum(len(item.references) for item in items),
        with_several_references=sum(len(item.references) > 1 for item in items),
        rows={name: summarise_row(found, chrf_other_references=others.get(name)) for name, found in scores.items()},
        j_ratio_to_delete=ratio.value,
        j_ratio_interval=to_span(ratio),
        failed=edited.outputs.count(None),
        ms_per_text=edited.ms_per_text,
    )


async def evaluate_safe(bench: Bench, records: Sequence[LabelledRecord], report_rows: ReportRows) -> SafeSetReport:
    """Measures how many harmless answers are changed, by the edit model alone and by the whole Moderator.

    Args:
        bench: what is measured.
        records: harmless answers.
        report_rows: called with the number of answers since the last call; each is counted twice.

    Raises:
        DependencyError: a model of the Moderator is gone or late.
    """
    responses = [record.response for record in records]
    edited = edit_texts(bench.editor, responses, clock=bench.clock, report_rows=report_rows)
    changed = estimate_share(
        [output != text for text, output in zip(responses, edited.outputs, strict=True) if output is not None]
    )
    moderated = await moderate_records(bench.moderator, records, clock=bench.clock, report_rows=report_rows)
    rules = bench.policy.for_tenant(moderated.tenant)
    flagged = [row for row in moderated.rows if row.decision_of(rules) is not Action.ALLOW]
    return SafeSetReport(
        n=len(records),
        safe_changed=changed.value,
        safe_changed_interval=to_span(changed),
        safe_changed_by_moderator=estimate_share(
            [row.verdict.response != row.exchange.response for row in moderated.rows]
        ).value,
        detector_flagged=len(flagged) / len(moderated.rows) if moderated.rows else None,
        failed=edited.outputs.count(None) + moderated.num_failed,
        ms_per_text=edited.ms_per_text,
    )


async def evaluate_harmful(
    bench: Bench, records: Sequence[LabelledRecord], report_rows: ReportRows
) -> HarmfulSetReport:
    """Measures what is left of harm after the Moderator.

    Args:
        bench: what is measured.
        records: harmful answers.
        report_rows: called with the number of answers since the last call.

    Raises:
        DependencyError: a model of the Moderator is gone or late.
    """
    moderated = await moderate_records(bench.moderator, records, clock=bench.clock, report_rows=report_rows)
    rows = moderated.rows
    delivered = [row for row in rows if row.verdict.response is not None]
    rewritten = [row for row in delivered if row.verdict.action is Action.REWRITE]
    residual = estimate_share(_are_harmful(bench, [row.verdict.response or "" for row in delivered]))
    texts = [row.verdict.response or "" for row in rewritten]
    return HarmfulSetReport(
        n=len(rows),
        harm_before=estimate_share(_are_harmful(bench, [row.exchange.response for row in rows])).value,
        residual_harm=residual.value,
        residual_harm_interval=to_span(residual),
        delivered=len(delivered),
        actions=dict(sorted(Counter(row.verdict.action.value for row in rows).items())),
        methods=_count([row.verdict.rewrite_method for row in rewritten]),
        made_by={
            method: _measure_rewrites(bench, [row for row in rewritten if row.verdict.rewrite_method == method])
            for method in _count([row.verdict.rewrite_method for row in rewritten])
        },
        rewritten_harm_before=estimate_share(_are_harmful(bench, [row.exchange.response for row in rewritten])).value,
        rewritten_harm_after=estimate_share(_are_harmful(bench, texts)).value,
        refusals_among_rewrites=estimate_share([is_refusal(text) for text in texts]).value,
        refused_reasons=_count([row.verdict.rewrite_refused_reason for row in rows]),
        released_above_threshold=_count_above_threshold(bench, rewritten, moderated.tenant),
        failed=moderated.num_failed,
        ms_per_text=moderated.ms_per_text,
    )


def _measure_rewrites(bench: Bench, rows: Sequence[ModeratedRow]) -> MadeRewrites:
    """Measures rewrites of one method; there is at least one."""
    answers, texts = [row.exchange.response for row in rows], [row.verdict.response or "" for row in rows]
    return MadeRewrites(
        n=len(rows),
        similarity=fmean(bench.judges.texts.similarity.compare(answers, texts)),
        fluency=fmean(bench.judges.texts.fluency.score(texts)),
        harm_before=fmean(_are_harmful(bench, answers)),
        harm_after=fmean(_are_harmful(bench, texts)),
        refusals=fmean(map(is_refusal, texts)),
    )


def _are_harmful(bench: Bench, texts: Sequence[str]) -> list[bool]:
    return [score >= bench.judges.card.harm_threshold for score in bench.judges.harm.score(texts)]


def _count(values: Sequence[str | None]) -> dict[str, int]:
    return dict(sorted(Counter(str(value) for value in values if value is not None).items()))


def _count_above_threshold(bench: Bench, rewritten: Sequence[ModeratedRow], tenant: str) -> int:
    """Counts the rewrites that the detector, asked anew, would not let through; one that it cannot read is one."""
    rules = bench.policy.for_tenant(tenant)
    found = bench.detector.assess(
        [Exchange(prompt=row.exchange.prompt, response=row.verdict.response or "") for row in rewritten]
    )
    return sum(
        not isinstance(outcome, Assessment) or rules.decide(outcome).action is not Action.ALLOW for outcome in found
    )

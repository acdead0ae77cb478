"""`weir assess`: what the harm detector says of one response."""

import asyncio
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pipelines.commands.options import JsonOption
from pipelines.terminal.texts import decode_argument, printable
from protector_models.moderation.cached_outputs import ObtainedOutput
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.harmful_spans import HarmfulSpan, SpanSearch, find_harmful_spans
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.stages import StageStatus
from protector_models.running.model_threads import SynchronousHarmDetector

EXIT_NOT_READ = 3
EXIT_HARMFUL = 4

_STANDARD_INPUT = "-"
_CATEGORY_SHARE = "0.01"
_MAX_SHOWN_CHARACTERS = 4_000
_SPAN_MARKS = ("⟦", "⟧")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Finding:
    """What is printed."""

    response: str
    assessment: Assessment
    threshold: float
    category_thresholds: dict[str, float]
    spans: Sequence[HarmfulSpan] | None
    """None where they were not asked for."""

    @property
    def is_harmful(self) -> bool:
        return self.assessment.harmfulness >= self.threshold

    @property
    def categories(self) -> list[str]:
        """Categories of a harmful response at or above their thresholds, the highest score first."""
        if not self.is_harmful:
            return []
        scores = self.assessment.categories
        above = [name for name, threshold in self.category_thresholds.items() if scores.get(name, 0.0) >= threshold]
        return sorted(above, key=lambda name: (-scores[name], name))


def assess(
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="The response to assess; - reads it from standard input.")
    ],
    prompt: Annotated[str, typer.Option(help="What the response answers; the detector reads both.")] = "",
    with_spans: Annotated[
        bool, typer.Option("--spans", help="Also find the sentences that carry the harm, and mark them: ⟦so⟧.")
    ] = False,
    weights: Annotated[
        Path | None, typer.Option(help="Weights directory of the detector; default: the one that Weir ships.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    as_json: JsonOption = False,
) -> None:
    """Say what the harm detector makes of one response.

    Prints how harmful the response is (0 to 1, 1 meaning harmful) beside the detector's threshold, the categories of a
    harmful one, how much was read, and the languages that were not. A category is named where the response is harmful
    and scores what 1% of safe held-out answers reach in it (the detector's threshold where its card has none). No
    policy is asked and nothing is stored or published: `weir moderate` does what a policy says.

    The text is read in its normal form, so that disguised words count, and shown as it is; positions of spans are
    characters of the text given. Bytes that are no UTF-8 are read as replacement characters.

    Ends with 0 when the response is below the threshold and was read in full, 3 when it is below but was not read in
    full, 4 when it is at or above the threshold; 1 when the detector gave no score, 2 for a wrong call or weights.
    """
    response = sys.stdin.buffer.read().decode("utf-8", "replace") if text == _STANDARD_INPUT else decode_argument(text)
    exchange = Exchange(prompt=decode_argument(prompt), response=response)
    finding = _assess(exchange, weights, num_threads=threads, with_spans=with_spans)
    if as_json:
        typer.echo(json.dumps(_as_json(finding)))
    else:
        _print(finding, Console(file=sys.stdout))
    if finding.is_harmful:
        raise typer.Exit(EXIT_HARMFUL)
    if finding.assessment.status() is not StageStatus.COMPLETE:
        raise typer.Exit(EXIT_NOT_READ)


def _assess(exchange: Exchange, weights: Path | None, *, num_threads: int, with_spans: bool) -> _Finding:
    # Imported here, not above: the engine takes a second, and every other command would pay for it.
    from protector_models.detectors.shipped.harm_detector import OnnxHarmDetector  # noqa: PLC0415
    from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, find_weights_in_use  # noqa: PLC0415

    directory = weights or SHIPPED_WEIGHTS
    budgets = find_weights_in_use(directory, "both").card.budget_thresholds
    detector = OnnxHarmDetector.load(directory, num_threads=num_threads)
    (outcome,) = detector.assess([exchange])
    if isinstance(outcome, ItemFailure):
        raise ModelUnavailableError(f"{outcome.error}: {outcome.message}")
    spans = _find_spans(exchange, outcome, detector, threshold=detector.threshold) if with_spans else None
    if isinstance(spans, ItemFailure):
        raise ModelUnavailableError(f"{spans.error}: {spans.message}")
    budget_thresholds = {name: budgets.get(name, {}).get(_CATEGORY_SHARE) for name in outcome.categories}
    return _Finding(
        response=exchange.response,
        assessment=outcome,
        threshold=detector.threshold,
        category_thresholds={
            name: detector.threshold if threshold is None else threshold
            for name, threshold in budget_thresholds.items()
        },
        spans=spans,
    )


def _find_spans(
    exchange: Exchange, whole: Assessment, detector: SynchronousHarmDetector, *, threshold: float
) -> tuple[HarmfulSpan, ...] | ItemFailure:
    async def assess(exchanges: Sequence[Exchange]) -> list[ObtainedOutput[Assessment]]:
        return [ObtainedOutput(output=outcome, cached=False) for outcome in detector.assess(exchanges)]

    search = SpanSearch(
        exchange=exchange, whole=whole, is_harmful=lambda assessment: assessment.harmfulness >= threshold
    )
    (found,) = asyncio.run(find_harmful_spans([search], assess))
    return found.output


def _as_json(finding: _Finding) -> dict[str, object]:
    return {
        "harmful": finding.is_harmful,
        "threshold": finding.threshold,
        "categories_above": finding.categories,
        "assessment": finding.assessment.model_dump(mode="json"),
        "spans": None
        if finding.spans is None
        else [{**asdict(span), "categories": sorted(span.categories)} for span in finding.spans],
    }


def _print(finding: _Finding, console: Console) -> None:
    assessment, coverage = finding.assessment, finding.assessment.coverage
    table = Table(title="weir assess", show_header=False)
    verdict = Text("at or above", "bold red") if finding.is_harmful else Text("below", "green")
    table.add_row("harmfulness", Text.assemble(f"{assessment.harmfulness:.4f}, ", verdict, f" {finding.threshold:g}"))
    scores = [f"{name} {assessment.categories[name]:.4f}" for name in finding.categories]
    table.add_row("categories", ", ".join(scores) or ("none reaches its threshold" if finding.is_harmful else "none"))
    read = f"{coverage.characters_evaluated} of {coverage.characters_total} characters"
    table.add_row("read", Text(read, "" if coverage.is_complete() else "bold yellow"))
    table.add_row("languages not read", ", ".join(assessment.languages) or "none")
    table.add_row("detector", assessment.detector)
    console.print(table)
    if finding.spans is not None:
        _print_spans(finding, finding.spans, console)


def _print_spans(finding: _Finding, spans: Sequence[HarmfulSpan], console: Console) -> None:
    for span in spans:
        console.print(f"characters {span.start} to {span.end}: harmfulness {span.harmfulness:.4f}", highlight=False)
    if not spans:
        console.print("no harmful span", highlight=False)
    elif len(finding.response) > _MAX_SHOWN_CHARACTERS:
        for span in spans:
            end = min(span.end, span.start + _MAX_SHOWN_CHARACTERS // len(spans))
            console.print(Text.assemble(*_mark(finding.response[span.start : end])))
    else:
        parts: list[str | tuple[str, str]] = []
        done = 0
        for span in spans:
            parts += (printable(finding.response[done : span.start]), *_mark(finding.response[span.start : span.end]))
            done = span.end
        console.print(Text.assemble(*parts, printable(finding.response[done:])))


def _mark(text: str) -> list[str | tuple[str, str]]:
    before, after = _SPAN_MARKS
    return [before, (printable(text), "bold red"), after]

"""What came out of the demonstration, counted."""

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict, JsonValue

from pipelines.streaming.broker import Record
from pipelines.streaming.dead_letter import facts_of
from pipelines.terminal.word_edits import find_word_edits
from protector_models.moderation.verdict import Action, ModeratedConversation, RewriteMethod

_BEFORE_CHARACTERS = 160
_AFTER_CHARACTERS = 320
_CONTEXT_CHARACTERS = 50


class Example(BaseModel):
    """A response before and after: the beginning, or where they begin to differ."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: Action
    category: str | None
    method: RewriteMethod | None
    """How `after` was made; None where nothing is delivered."""
    harmfulness: float | None
    before: str
    after: str | None


class NamedSentence(BaseModel):
    """An answer, and the sentence in it that the detector finds most harmful."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sentence: str
    harmfulness: float
    before: str
    """What stands before it in the answer; empty where it is the first."""
    after: str


class DilutedAnswers(BaseModel):
    """Harmless answers into which one toxic sentence was put."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sent: int
    acted_on: int
    """Not simply allowed."""
    example: NamedSentence | None
    """The longest answer of those that were acted on; None where there is none."""


class MadeCall(BaseModel):
    """A call over HTTP, and its answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str
    """For a shell, with curl; it works for as long as the demonstration runs."""
    status: int
    answer: JsonValue


class DemoResult(BaseModel):
    """The demonstration in numbers. `sent` equals the sum of `actions` and `dead_letters`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sent: int
    actions: dict[Action, int]
    categories: dict[str, dict[Action, int]]
    """By category and action, of what was not simply allowed."""
    methods: dict[RewriteMethod, int]
    """How the delivered rewrites were made; they add up to the action `rewrite`."""
    dead_letters: dict[str, int]
    """By class of error."""
    cached: int
    """Verdicts whose every model output came from Redis."""
    first_verdict_s: float
    """From the start of the command to the first verdict."""
    events_per_s: float
    """From the first record produced to the last result read."""
    latency_ms: dict[str, float]
    """From producing an event to reading its verdict: p50, p95, p99."""
    examples: tuple[Example, ...]
    diluted: DilutedAnswers
    http: tuple[MadeCall, ...] = ()
    """Empty where there is no front."""


@dataclass(slots=True)
class Tally:
    """Counts results as they are read."""

    sent_at: dict[str, float] = field(default_factory=dict)
    """When each event was produced, by event_id; monotonic seconds."""
    originals: dict[str, str] = field(default_factory=dict)
    """The response of each event, by event_id."""
    diluted: set[str] = field(default_factory=set)
    """The events into whose harmless answer a toxic sentence was put, by event_id."""
    diluted_acted_on: dict[str, ModeratedConversation] = field(default_factory=dict)
    actions: Counter[Action] = field(default_factory=Counter)
    categories: dict[str, Counter[Action]] = field(default_factory=dict)
    methods: Counter[RewriteMethod] = field(default_factory=Counter)
    dead_letters: Counter[str] = field(default_factory=Counter)
    cached: int = 0
    latencies_s: list[float] = field(default_factory=list)
    examples: list[Example] = field(default_factory=list)

    def note_sent(self, value: bytes, now: float) -> None:
        """Remember when an event was sent and what it says; a broken record has neither."""
        try:
            event = json.loads(value)
            event_id, response = event["event_id"], event["response"]
            is_diluted = "inserted_sentence" in event.get("metadata", {})
        except (ValueError, TypeError, KeyError, AttributeError):
            return
        if isinstance(event_id, str):
            self.sent_at[event_id] = now
            self.originals[event_id] = response if isinstance(response, str) else ""
            if is_diluted:
                self.diluted.add(event_id)

    def note_verdict(self, record: Record, now: float) -> None:
        """Count a moderated conversation."""
        verdict = ModeratedConversation.model_validate_json(record.value or b"")
        self.actions[verdict.action] += 1
        self.cached += verdict.cached
        self.latencies_s.append(now - self.sent_at[verdict.event_id])
        if verdict.action is Action.ALLOW:
            return
        if verdict.event_id in self.diluted:
            self.diluted_acted_on[verdict.event_id] = verdict
        category = verdict.category or _unread(verdict)
        counts = self.categories.setdefault(category, Counter())
        method = verdict.rewrite_method
        is_new = verdict.action not in counts or (method is not None and method not in self.methods)
        counts[verdict.action] += 1
        if method is not None:
            self.methods[method] += 1
        if is_new and verdict.category is not None:
            self.examples.append(self._example(verdict))

    def note_dead_letter(self, record: Record) -> None:
        """Count a dead letter."""
        self.dead_letters[facts_of(record.headers).get("error", "unknown")] += 1

    def results(self) -> int:
        """Return how many results have come."""
        return self.actions.total() + self.dead_letters.total()

    def result(self, *, sent: int, first_verdict_s: float, elapsed_s: float) -> DemoResult:
        """Return everything counted."""
        return DemoResult(
            sent=sent,
            actions={action: self.actions[action] for action in Action},
            categories={name: dict(counts) for name, counts in sorted(self.categories.items())},
            methods={method: self.methods[method] for method in RewriteMethod},
            dead_letters=dict(self.dead_letters),
            cached=self.cached,
            first_verdict_s=round(first_verdict_s, 1),
            events_per_s=round(self.results() / elapsed_s, 1),
            latency_ms={f"p{percent}": _percentile_ms(self.latencies_s, percent) for percent in (50, 95, 99)},
            examples=tuple(self.examples),
            diluted=DilutedAnswers(
                sent=len(self.diluted), acted_on=len(self.diluted_acted_on), example=self._name_sentence()
            ),
        )

    def _name_sentence(self) -> NamedSentence | None:
        by_length = sorted(self.diluted_acted_on, key=lambda event_id: len(self.originals[event_id]))
        for event_id in reversed(by_length):
            assessment, text = self.diluted_acted_on[event_id].assessment, self.originals[event_id]
            if assessment is not None and assessment.pieces:
                worst = max(assessment.pieces, key=lambda piece: piece.harmfulness)
                return NamedSentence(
                    sentence=shorten(text[worst.start : worst.end]),
                    harmfulness=worst.harmfulness,
                    before=" ".join(text[: worst.start].split()),
                    after=" ".join(text[worst.end :].split()),
                )
        return None

    def _example(self, verdict: ModeratedConversation) -> Example:
        before, after = self.originals[verdict.event_id], verdict.response
        start = 0 if after is None else _start_of_excerpt(before, after)
        return Example(
            action=verdict.action,
            category=verdict.category,
            method=verdict.rewrite_method,
            harmfulness=verdict.assessment.harmfulness if verdict.assessment else None,
            before=shorten(before, start=start),
            after=None if after is None else shorten(after, start=start, limit=_AFTER_CHARACTERS),
        )


def shorten(text: str, *, start: int = 0, limit: int = _BEFORE_CHARACTERS) -> str:
    """Return some of a text on one line: harmful text is shown no longer than it takes to recognise it.

    Args:
        text: of any length.
        start: what is before this is left out.
        limit: characters of the result at most, at least 2.
    """
    line = ("…" if start else "") + " ".join(text[start:].split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def _start_of_excerpt(before: str, after: str) -> int:
    """Return where to begin to show two texts, so that what they differ in is seen with some words before it."""
    edits = find_word_edits(before, after)
    if not edits or edits[0].start <= _CONTEXT_CHARACTERS:
        return 0
    return before.find(" ", edits[0].start - _CONTEXT_CHARACTERS, edits[0].start) + 1


def _unread(verdict: ModeratedConversation) -> str:
    coverage = verdict.assessment.coverage if verdict.assessment else None
    if coverage is None:
        return "(not assessed)"
    if coverage.unread_parts:
        return "(part not read)"
    return "(image not read)" if coverage.images_evaluated < coverage.images_total else "(text not read)"


def _percentile_ms(values_s: Sequence[float], percent: int) -> float:
    """Return the smallest value that at least so many percent of the values do not exceed; 0 without values."""
    if not values_s:
        return 0.0
    rank = max(1, math.ceil(len(values_s) * percent / 100))
    return round(sorted(values_s)[rank - 1] * 1000, 1)

"""Verdicts that a guard wrote, read as harmfulness and categories: one algorithm for guards here and behind HTTP.

A regular expression finds the verdict in the text. The probabilities of all verdicts' first tokens at the place where
it begins give harmfulness: each verdict's weight, weighted by its probability among the verdicts. A token belongs to a
verdict if it is the beginning of that verdict's text and of no other's, in whatever case: "Un" and " unsafe" are of
"unsafe". Where no probabilities are known, harmfulness is the weight of the verdict that was written.

What holds no verdict is a failure, and a failure is never "safe"; so is what holds verdicts that contradict each other.
A guard that reasons first writes its verdict behind what it thought (`thoughts`): nothing in there is one, and an
answer that ends in there holds none.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from protector_models.descriptions.generative_head import GenerativeHead
from protector_models.guards.thoughts import find_end_of_thought
from protector_models.moderation.model_outputs import ItemFailure

SCORE_DECIMALS = 4
"""Of every score that is reported."""

UNREADABLE_VERDICT = "UnreadableVerdict"
"""The error of an answer that holds no verdict, or several that differ."""

_ELSEWHERE = "x\nx "
"""Stands before what shall be found in another place than the beginning."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenVerdict:
    """A verdict as it stands in a text."""

    label: str
    """The verdict's text, as the description writes it."""
    start: int
    """The character at which it begins."""
    categories: frozenset[str]
    """Ours, of those that stand beside it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerToken:
    """One token of an answer."""

    text: str
    log_probabilities: Mapping[str, float]
    """Of the verdicts that may begin in its place: logarithms of their probabilities, up to a common summand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardAnswer:
    """What one answer of a guard says."""

    harmfulness: float
    """In [0, 1]; 1 means harmful."""
    categories: frozenset[str]
    """Ours, that this harm is of."""


class VerdictGrammar:
    """Reads the answers of one kind of guard to one kind of question."""

    def __init__(self, pattern: str, weights: Mapping[str, float], categories: Mapping[str, str]) -> None:
        """Make a grammar.

        Args:
            pattern: a regular expression with a group `verdict`, and `categories` where the guard names them; case
                does not matter.
            weights: of each verdict, in [0, 1].
            categories: the guard's names of categories in our words.
        """
        self._pattern = re.compile(pattern, re.IGNORECASE)
        self._labels = {label.casefold(): label for label in weights}
        self._weights = dict(weights)
        self._categories = {name.casefold(): ours for name, ours in categories.items()}
        labels = "|".join(re.escape(label) for label in sorted(weights, key=len, reverse=True))
        self._words = re.compile(rf"(?<!\w)(?:{labels})(?!\w)", re.IGNORECASE)
        # The longest first: "violent" stands in "non-violent" as well.
        names = "|".join(re.escape(name) for name in sorted(categories, key=len, reverse=True))
        self._names = re.compile(rf"(?<!\w)(?:{names})(?!\w)" if names else r"(?!)", re.IGNORECASE)

    @classmethod
    def of_exchange(cls, head: GenerativeHead) -> Self:
        """Return what reads the verdict on a response to a prompt."""
        return cls(head.verdict, head.verdicts, head.categories)

    @classmethod
    def of_text(cls, head: GenerativeHead) -> Self:
        """Return what reads the verdict on a text that stands alone."""
        return cls(head.verdict_alone or head.verdict, head.verdicts, head.categories)

    @property
    def labels(self) -> Sequence[str]:
        """The verdicts there are, as the description writes them."""
        return list(self._weights)

    def find(self, text: str) -> WrittenVerdict | None:
        """Return the verdict in a text, behind what was thought there; None where there is none, or several differ."""
        begin = find_end_of_thought(text)
        if begin is None:
            return None
        # A slice, not a position: a pattern may be anchored to the beginning.
        answer = text[begin:]
        match = self._pattern.search(answer)
        label = self._label(match)
        if match is None or label is None or self._contradicts(answer, match, label):
            return None
        named = match["categories"] if "categories" in self._pattern.groupindex else None
        return WrittenVerdict(
            label=label,
            start=begin + match.start("verdict"),
            categories=frozenset(self._categories[name.casefold()] for name in self._names.findall(named or "")),
        )

    def is_contradictory(self, text: str) -> bool:
        """Tell whether a text holds verdicts that differ, behind what was thought there."""
        answer = text[find_end_of_thought(text) or 0 :]
        match = self._pattern.search(answer)
        label = self._label(match)
        return match is not None and label is not None and self._contradicts(answer, match, label)

    def _contradicts(self, answer: str, match: re.Match[str], label: str) -> bool:
        """Tell whether something behind the first verdict of an answer takes it back."""
        place = match.end("verdict")
        # Where it could not stand elsewhere, the pattern finds no second verdict: then any word for more harm is one.
        if self._pattern.search(_ELSEWHERE + answer[match.start() :]) is None:
            words = (self._labels.get(word.casefold(), label) for word in self._words.findall(answer, place))
            return self._stands_first_in_a_line(answer[place:], label) or any(
                self._weights[word] > self._weights[label] for word in words
            )
        # From behind the verdict, not behind the match: what follows a verdict may swallow the next one.
        while (other := self._pattern.search(answer, place)) is not None:
            if other["verdict"] and self._label(other) != label:
                return True
            place = max(place + 1, other.end("verdict"))
        return False

    def _stands_first_in_a_line(self, rest: str, label: str) -> bool:
        """Tell whether some later line begins with another verdict than the one before."""
        found = (self._label(self._pattern.match(line)) for line in rest.split("\n")[1:])
        return any(other not in {None, label} for other in found)

    def _label(self, match: re.Match[str] | None) -> str | None:
        return self._labels.get(match["verdict"].casefold()) if match and match["verdict"] else None

    def label_of_token(self, token: str) -> str | None:
        """Return the verdict that a token can only be the beginning of; None where it begins none, or several."""
        beginning = token.strip().casefold()
        if not beginning:
            return None
        found = [label for folded, label in self._labels.items() if folded.startswith(beginning)]
        return found[0] if len(found) == 1 else None

    def weigh(self, label: str, log_probabilities: Mapping[str, float]) -> float:
        """Return the harmfulness of a verdict.

        Args:
            label: the verdict that was written.
            log_probabilities: logarithms of the verdicts' probabilities, up to a common summand; empty where they are
                not known.

        Returns:
            A number in [0, 1]; not a number where a probability is none.
        """
        if any(math.isnan(value) or value == math.inf for value in log_probabilities.values()):
            return math.nan
        known = {name: value for name, value in log_probabilities.items() if value > -math.inf}
        if label not in known:
            return self._weights[label]
        highest = max(known.values())
        shares = {name: math.exp(value - highest) for name, value in known.items()}
        harmfulness = sum(self._weights[name] * share for name, share in shares.items()) / sum(shares.values())
        # Sums of rounded numbers may end a little outside.
        return min(1.0, max(0.0, harmfulness))

    def is_harmless(self, label: str) -> bool:
        """Tell whether a verdict says that there is no harm at all."""
        return self._weights[label] == 0


def read_answer(
    grammar: VerdictGrammar, text: str, tokens: Iterable[AnswerToken], *, category: str | None
) -> GuardAnswer | ItemFailure:
    """Return what one answer says.

    Args:
        grammar: of the guard.
        text: the answer.
        tokens: the same answer in tokens, where they are known.
        category: ours, that the guard was asked for; None: the answer names categories.
    """
    written = grammar.find(text)
    if written is None:
        found = "verdicts that contradict each other" if grammar.is_contradictory(text) else "no verdict"
        expected = ", ".join(grammar.labels)
        return ItemFailure(
            error=UNREADABLE_VERDICT,
            message=f"the guard's answer holds {found}{_place_of_verdict(text)}; expected {expected}",
        )
    harmfulness = grammar.weigh(written.label, _find_probabilities(grammar, text, written, list(tokens)))
    if math.isnan(harmfulness):
        return ItemFailure(error="NotFiniteScore", message="the model's output was not a finite number")
    if category is not None:
        return GuardAnswer(harmfulness=harmfulness, categories=frozenset({category}))
    categories = frozenset[str]() if grammar.is_harmless(written.label) else written.categories
    return GuardAnswer(harmfulness=harmfulness, categories=categories)


def add_up(grammar: VerdictGrammar, alternatives: Iterable[tuple[str, float]]) -> dict[str, float]:
    """Return the logarithms of the verdicts' probabilities in one place, of those of tokens that can stand there.

    Args:
        grammar: says which token begins which verdict.
        alternatives: tokens and the logarithms of their probabilities.
    """
    found: dict[str, list[float]] = {}
    for token, log_probability in alternatives:
        if (label := grammar.label_of_token(token)) is not None:
            found.setdefault(label, []).append(log_probability)
    return {label: _add_logarithms(values) for label, values in found.items()}


def _place_of_verdict(text: str) -> str:
    end = find_end_of_thought(text)
    if end is None:
        return ": it ends within a thought"
    return " behind the thought" if end else ""


def _find_probabilities(
    grammar: VerdictGrammar, text: str, written: WrittenVerdict, tokens: Sequence[AnswerToken]
) -> Mapping[str, float]:
    """Return the probabilities where the verdict begins; none where the tokens do not hold it in a place of its own."""
    start = _find_start(grammar, text, written, "".join(token.text for token in tokens))
    if start is None:
        return {}
    end = 0
    for token in tokens:
        end += len(token.text)
        if end > start:
            # A token that holds more than the beginning of the verdict says nothing of the others' probabilities.
            return token.log_probabilities if grammar.label_of_token(token.text) == written.label else {}
    return {}


def _find_start(grammar: VerdictGrammar, text: str, written: WrittenVerdict, joined: str) -> int | None:
    """Return where the verdict of a text begins in the tokens of it.

    A server may give the tokens of a thought that it has taken out of the text, with its marks or without: the text is
    then what the tokens end with.
    """
    place = joined.rfind(text.strip())
    if place >= 0:
        return place + written.start - (len(text) - len(text.lstrip()))
    found = grammar.find(joined)
    return found.start if found is not None and found.label == written.label else None


def _add_logarithms(values: Sequence[float]) -> float:
    highest = max(values)
    if not math.isfinite(highest):
        return highest
    return highest + math.log(sum(math.exp(value - highest) for value in values))


def combine(answers: Iterable[GuardAnswer], known: Iterable[str]) -> tuple[float, dict[str, float]]:
    """Return harmfulness and categories of an exchange: of all answers about it, over windows and questions.

    Args:
        answers: at least one.
        known: all categories that the guard gives.

    Returns:
        The highest harmfulness, and for each category the highest of the answers that are of it, 0 where none is; all
        rounded.
    """
    scores = dict.fromkeys(sorted(known), 0.0)
    harmfulness = 0.0
    for answer in answers:
        harmfulness = max(harmfulness, answer.harmfulness)
        for name in answer.categories:
            scores[name] = max(scores[name], answer.harmfulness)
    return round(harmfulness, SCORE_DECIMALS), {name: round(score, SCORE_DECIMALS) for name, score in scores.items()}

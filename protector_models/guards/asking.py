"""From exchanges to what a generative guard is asked, and from its answers to assessments, here and behind HTTP."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from protector_models.descriptions.checkpoint_description import CheckpointDescription
from protector_models.descriptions.generative_head import GenerativeHead
from protector_models.guards.prompts import separate, stands_alone
from protector_models.guards.verdicts import GuardAnswer, VerdictGrammar, combine
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import Assessment, Coverage, ItemFailure
from protector_models.reading.exchange_windows import ExchangeWindow, Offsets, cover_exchange


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One question to the guard about one window of an exchange."""

    window: ExchangeWindow
    alone: bool
    """Whether the window is of a text that stands alone."""
    arguments: Mapping[str, JsonValue]
    """Of the chat template."""
    category: str | None
    """Ours, that is asked for; None: the answer names categories."""
    grammar: VerdictGrammar
    """Reads the answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedExchange:
    """All that is asked about one exchange."""

    asks: list[Ask]
    """At least one."""
    coverage: Coverage


class GuardAsking:
    """Asks every question of a description about every window of an exchange."""

    def __init__(
        self,
        description: CheckpointDescription,
        head: GenerativeHead,
        *,
        forbidden: Sequence[str],
        tokenise: Callable[[str], Offsets],
        max_tokens: int,
        max_windows: int,
        find_unread: Callable[[str], Sequence[int]] = lambda _: (),
    ) -> None:
        """Decide how to ask.

        Args:
            description: of the guard.
            head: the description's.
            forbidden: strings that a text must not hold when it is put into the template.
            tokenise: returns where the tokens of a text are.
            max_tokens: of prompt and response of one window together.
            max_windows: that are read of one exchange.
            find_unread: returns which characters of a text the guard gets nothing of, in order, where that is known.
        """
        self.head = head
        self._overlap = description.window.overlap
        self._categories = description.categories
        self._forbidden = list(forbidden)
        self._tokenise = tokenise
        self._find_unread = find_unread
        self._max_tokens = max_tokens
        self._max_windows = max_windows
        self._grammars = {False: VerdictGrammar.of_exchange(head), True: VerdictGrammar.of_text(head)}

    @property
    def categories(self) -> frozenset[str]:
        """The categories that the guard gives a score for."""
        return self._categories

    def ask(self, exchange: Exchange) -> AskedExchange:
        """Return what is asked about an exchange."""
        alone = stands_alone(exchange)
        prompt, response = separate(exchange, self._forbidden)
        cover = cover_exchange(
            prompt,
            response,
            self._tokenise,
            max_tokens=self._max_tokens,
            overlap=self._overlap,
            max_windows=self._max_windows,
            find_unread=self._find_unread,
        )
        total = len(exchange.question()) + len(exchange.response)
        unread = cover.characters_total - cover.characters_evaluated
        return AskedExchange(
            asks=[
                Ask(
                    window=window,
                    alone=alone,
                    arguments=question.arguments,
                    category=question.category,
                    grammar=self._grammars[alone],
                )
                for window in cover.windows
                for question in self.head.questions
            ],
            # Broken marks make texts longer than they are, and of a text unread in part something is always unread.
            coverage=Coverage.of(exchange, characters_evaluated=max(0, total - unread), characters_total=total),
        )

    def conclude(
        self, asked: AskedExchange, answers: Sequence[GuardAnswer | ItemFailure], *, detector: str
    ) -> Assessment | ItemFailure:
        """Return the assessment of an exchange; a failure where any answer is one, since it may be the one of harm."""
        given: list[GuardAnswer] = []
        for answer in answers:
            if isinstance(answer, ItemFailure):
                return answer
            given.append(answer)
        harmfulness, categories = combine(given, self._categories)
        coverage = asked.coverage
        return Assessment(
            harmfulness=harmfulness,
            categories=categories,
            detector=detector,
            truncated=coverage.characters_evaluated < coverage.characters_total,
            coverage=coverage,
        )


def require_generative(description: CheckpointDescription) -> GenerativeHead:
    """Return the head of a guard that writes.

    Raises:
        ConfigurationError: the description is of another sort.
    """
    if not isinstance(description.head, GenerativeHead):
        raise ConfigurationError(
            f"detector.description: {description.name!r}: expected one of a generative guard, got a classifier"
        )
    return description.head

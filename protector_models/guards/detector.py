"""A generative guard that runs here: any causal language model of transformers, asked as its description says.

Importing this module takes seconds.
"""

from collections.abc import Iterator, Sequence
from typing import Self

from protector_models.guards.asking import Ask, GuardAsking
from protector_models.guards.encoding import GuardEncoding
from protector_models.guards.loading import load_guard
from protector_models.guards.verdicts import AnswerToken, GuardAnswer, VerdictGrammar, read_answer
from protector_models.guards.writer import GuardWriter
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.settings import DetectorSettings


class GuardDetector:
    """Asks a language model for a verdict on the thread that calls. Implements `SynchronousHarmDetector`.

    Harmfulness is the highest over windows and questions. An answer without a verdict, or a text that the model fails
    on alone, is an `ItemFailure` and touches no other text.
    """

    def __init__(self, writer: GuardWriter, encoding: GuardEncoding, asking: GuardAsking, *, revision: str) -> None:
        """Put a detector together.

        Args:
            writer: the model.
            encoding: makes the tokens of what it is asked.
            asking: what it is asked, and how answers become assessments.
            revision: of the whole.
        """
        self._writer = writer
        self._encoding = encoding
        self._asking = asking
        self._revision = revision

    @classmethod
    def load(cls, settings: DetectorSettings, *, num_threads: int) -> Self:
        """Load the guard that the settings of kind "transformers" name.

        Args:
            settings: model, description and budgets.
            num_threads: CPU threads of torch, in the whole process.

        Raises:
            ConfigurationError: it cannot be loaded, or the budgets do not fit it.
        """
        guard = load_guard(settings, num_threads=num_threads)
        writer = GuardWriter(
            guard.model,
            guard.tokenizer,
            generation=guard.generation,
            grammar=VerdictGrammar.of_exchange(guard.head),
            revision=guard.revision,
            tokens_per_run=guard.tokens_per_run,
        )
        asking = GuardAsking(
            guard.description,
            guard.head,
            forbidden=guard.encoding.forbidden,
            tokenise=guard.encoding.tokenise,
            find_unread=guard.encoding.find_unread,
            max_tokens=guard.room,
            max_windows=settings.max_windows,
        )
        return cls(writer, guard.encoding, asking, revision=guard.revision)

    @property
    def revision(self) -> str:
        """The model's and the adapter's name, and a digest of their files and of how they are asked."""
        return self._revision

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Score each exchange.

        Raises:
            ModelUnavailableError: the GPU failed or is out of memory.
        """
        asked = [self._asking.ask(exchange) for exchange in exchanges]
        answers = self._answer([ask for item in asked for ask in item.asks])
        return [
            self._asking.conclude(item, [next(answers) for _ in item.asks], detector=self._revision) for item in asked
        ]

    def _answer(self, asks: Sequence[Ask]) -> Iterator[GuardAnswer | ItemFailure]:
        written = self._writer.write(
            [self._encoding.encode(ask.window, alone=ask.alone, arguments=ask.arguments) for ask in asks]
        )
        for ask, answer in zip(asks, written, strict=True):
            yield answer if isinstance(answer, ItemFailure) else _read(ask, answer)


def _read(ask: Ask, tokens: Sequence[AnswerToken]) -> GuardAnswer | ItemFailure:
    return read_answer(ask.grammar, "".join(token.text for token in tokens), tokens, category=ask.category)

"""The harm detector that ships with the project: a small int8 encoder and a bag of words, read window by window.

Neither torch nor transformers is imported here: a replica is ready in a fraction of a second.

Shapes: K = 2 + C logits of one window (answer, text alone, then one per category), W windows of one exchange, R windows
of its response.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from tokenizers import Tokenizer

from protector_models.checkpoints import CheckpointCard, CheckpointError
from protector_models.detectors.bag_of_words import BAG_OF_WORDS_FILE, BagOfWords
from protector_models.detectors.prompts import (
    MAX_PROMPT_TOKENS,
    MAX_RESPONSE_TOKENS,
    PAIR_LAYOUT,
    PairLayout,
    TokenPair,
)
from protector_models.detectors.text_windows import TextCover, WindowSize, cover_text
from protector_models.detectors.window_aggregation import AGGREGATION, aggregate_windows
from protector_models.detectors.window_scorer import Logits, OnnxWindowScorer, WindowScorer
from protector_models.languages import LANGUAGE_RULES, LanguageIdentifier
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.verdict import Assessment, Coverage, ItemFailure
from protector_models.normalisation import NORMALISATION
from protector_models.settings import Device, Engine

SHIPPED_WEIGHTS = Path(__file__).parents[1] / "weights" / "harm_detector"
"""The weights that ship with the project."""

MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"

_PROMPT_WINDOW = WindowSize(num_tokens=MAX_PROMPT_TOKENS, overlap=16)
_RESPONSE_WINDOW = WindowSize(num_tokens=MAX_RESPONSE_TOKENS, overlap=40)
DEFAULT_MAX_WINDOWS = 64
# Outputs in order: an answer to a prompt, a text without one, then the categories.
_ANSWER, _ALONE, _FIRST_CATEGORY = 0, 1, 2
SCORE_DECIMALS = 4
"""Of every score that is reported."""
# Changed with every change of what counts as read, so that assessments cached under another rule are not used again.
_COUNTING = "unknown and dropped words unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """How one exchange is read: its windows and what they cover."""

    windows: list[TokenPair]
    response_indices: list[int]
    """For each window, the response window it holds; the same one stands beside several chunks of a longer prompt."""
    coverage: Coverage
    languages: tuple[str, ...]
    """Of passages that are not read because the model does not know their language; sorted."""

    @property
    def has_prompt(self) -> bool:
        """Whether any window holds tokens of a prompt."""
        return any(window.has_prompt for window in self.windows)

    @property
    def is_truncated(self) -> bool:
        return self.coverage.characters_evaluated < self.coverage.characters_total


class OnnxHarmDetector:
    """Scores exchanges in [0, 1], 1 meaning that the response is harmful.

    - A window's logits are a weighted sum of two models': a small encoder and a bag of words. The weights, fitted on
      held-out data, make the score a probability there; the card holds them.
    - An exchange without a prompt is scored by a head of its own, trained on texts standing alone.
    - `harmfulness` and `categories` are made of all windows as `window_aggregation` says. Categories come from a third
      head, trained on harmful rows only: how likely each is *given* that the exchange is harmful. A category's score
      never exceeds `harmfulness`. `sexual_minors` has no training data and is not among them.
    - Text is read in overlapping windows. Window i pairs prompt chunk i mod P with response window i mod R, for i up to
      the larger of P and R, so every character is read at least once unless that takes more than `max_windows`
      windows; then head, tail and evenly spread ones are read, and `truncated` and `coverage` say so.
    - Text is read in its normal form (`normalisation`): disguised words are read as what they stand for. Words that are
      in characters without tokens even then count as not read; `unread_characters` has the rule. Emoji and other
      characters without words count as read.
    - Passages in another language than English count as not read, and `languages` names theirs.
    - Of images the text that was read in them is judged, as part of the prompt; `coverage` says which have none because
      they were not read.

    Scores do not depend on the batch, on its order or on the number of threads.
    """

    def __init__(
        self,
        card: CheckpointCard,
        tokenizer: Tokenizer,
        identifier: LanguageIdentifier,
        scorer: WindowScorer,
        bag_of_words: BagOfWords,
        *,
        max_windows: int,
    ) -> None:
        self._card = card
        self._bag_of_words = bag_of_words
        self._mix_K3 = np.array([(mix.encoder, mix.bag_of_words, mix.bias) for mix in card.mixes], dtype=np.float64)
        self._tokenizer = tokenizer
        self._identifier = identifier
        self._scorer = scorer
        self._layout = PairLayout.for_vocabulary(tokenizer)
        self._max_windows = max_windows
        # Other windows give long texts other scores, other counting another coverage: caches must keep them apart.
        self._revision = card.make_revision(
            f"{_PROMPT_WINDOW} {_RESPONSE_WINDOW} max {max_windows} {_COUNTING} {scorer.engine} {NORMALISATION} "
            f"{LANGUAGE_RULES} {AGGREGATION}"
        )

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        num_threads: int,
        max_windows: int = DEFAULT_MAX_WINDOWS,
        engine: Engine = "onnx",
        device: Device = "cpu",
    ) -> Self:
        """Loads a weights directory after checking its hashes; takes about a second.

        Args:
            directory: holds card.json, model.onnx, bag_of_words.safetensors and tokenizer.json.
            num_threads: CPU threads that compute; the ONNX engine scores a window on each.
            max_windows: the most windows read of one exchange, at least 1.
            engine: what runs the encoder; torch takes seconds to load, and rounds otherwise than the int8 engine.
            device: where torch computes.

        Raises:
            CheckpointError: a file is missing, damaged or of another prompt layout.
            ConfigurationError: the engine or the device is not to be had here.
            ValueError: a number is out of range.
        """
        card = CheckpointCard.load(directory)
        if card.layout != PAIR_LAYOUT:
            raise CheckpointError(f"{directory}: trained with layout {card.layout}, this code builds {PAIR_LAYOUT}")
        if len(card.mixes) != _FIRST_CATEGORY + len(card.categories):
            raise CheckpointError(
                f"{directory}: {len(card.mixes)} mixes, expected {_FIRST_CATEGORY + len(card.categories)}"
            )
        missing = {MODEL_FILE, TOKENIZER_FILE, BAG_OF_WORDS_FILE} - card.files.keys()
        if missing:
            raise CheckpointError(f"{directory}: the card gives no hash for {', '.join(sorted(missing))}")
        scorer = _load_scorer(directory / MODEL_FILE, num_threads=num_threads, engine=engine, device=device)
        return cls.compose(directory, card, scorer, max_windows=max_windows)

    @classmethod
    def compose(
        cls, directory: Path, card: CheckpointCard, scorer: WindowScorer, *, max_windows: int = DEFAULT_MAX_WINDOWS
    ) -> Self:
        """Puts a detector together from the tokenizer and bag of words of a directory, a card and a scorer.

        Raises:
            CheckpointError: a file is damaged.
            ValueError: `max_windows` is less than 1.
        """
        if max_windows < 1:
            raise ValueError(f"max_windows must be at least 1, got {max_windows}")
        tokenizer: Tokenizer = Tokenizer.from_file(str(directory / TOKENIZER_FILE))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        bag_of_words = BagOfWords.load(directory / BAG_OF_WORDS_FILE)
        if len(bag_of_words.biases_K) != len(card.mixes):
            raise CheckpointError(
                f"{directory}: the bag of words has {len(bag_of_words.biases_K)} outputs, the card {len(card.mixes)}"
            )
        return cls(card, tokenizer, LanguageIdentifier.load(), scorer, bag_of_words, max_windows=max_windows)

    @property
    def revision(self) -> str:
        """Name and revision as `name@hash`: equal revisions give equal assessments."""
        return self._revision

    @property
    def threshold(self) -> float:
        """Harmfulness from which on a response counts as harmful, chosen on held-out data; see the card."""
        return self._card.threshold

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        """Scores each exchange; may be called from several threads at once and may be repeated.

        Returns:
            One value per exchange, in order; an `ItemFailure` where the model gave no number.

        Raises:
            RuntimeError: ONNX Runtime failed.
        """
        readings: list[_Reading] = []
        bag_logits: list[Logits] = []

        def read_all() -> Iterator[TokenPair]:
            for exchange in exchanges:
                reading = self._read(exchange)
                readings.append(reading)
                # The encoder is given its windows first: it runs while the rest is done here.
                yield from reading.windows
                bag_logits.extend(self._bag_of_words.score(reading.windows))

        encoder, bag_of_words = iter(self._scorer.score(read_all())), iter(bag_logits)
        return [
            self._conclude(
                reading, [next(encoder) for _ in reading.windows], [next(bag_of_words) for _ in reading.windows]
            )
            for reading in readings
        ]

    def _read(self, exchange: Exchange) -> _Reading:
        prompt, response = (
            cover_text(text, self._tokenizer, self._identifier, size, max_windows=self._max_windows)
            for text, size in ((exchange.question(), _PROMPT_WINDOW), (exchange.response, _RESPONSE_WINDOW))
        )
        coverage = Coverage.of(
            exchange,
            characters_evaluated=prompt.num_characters_read + response.num_characters_read,
            characters_total=prompt.num_characters + response.num_characters,
        )
        num_windows = max(len(prompt.windows), len(response.windows))
        response_indices = [index % len(response.windows) for index in range(num_windows)]
        return _Reading(
            windows=self._pair_windows(prompt, response, response_indices),
            response_indices=response_indices,
            coverage=coverage,
            languages=tuple(sorted(prompt.languages | response.languages)),
        )

    def _pair_windows(self, prompt: TextCover, response: TextCover, response_indices: Sequence[int]) -> list[TokenPair]:
        return [
            self._layout.join(
                prompt.windows[index % len(prompt.windows)].token_ids, response.windows[response_index].token_ids
            )
            for index, response_index in enumerate(response_indices)
        ]

    def _conclude(
        self, reading: _Reading, encoder: Sequence[Logits], bag_of_words: Sequence[Logits]
    ) -> Assessment | ItemFailure:
        mix_K3 = self._mix_K3
        logits_WK = np.stack(encoder) * mix_K3[:, 0] + np.stack(bag_of_words) * mix_K3[:, 1] + mix_K3[:, 2]
        if not np.isfinite(logits_WK).all():
            return ItemFailure(error="NotFiniteScore", message="the model's output was not a finite number")
        head = _ANSWER if reading.has_prompt else _ALONE
        harmfulness, categories_C = aggregate_windows(
            logits_WK[:, head], logits_WK[:, _FIRST_CATEGORY:], np.array(reading.response_indices)
        )
        return Assessment(
            harmfulness=round(harmfulness, SCORE_DECIMALS),
            categories={
                name: round(float(score), SCORE_DECIMALS)
                for name, score in zip(self._card.categories, categories_C, strict=True)
            },
            detector=self.revision,
            truncated=reading.is_truncated,
            coverage=reading.coverage,
            languages=reading.languages,
        )


def _load_scorer(model_file: Path, *, num_threads: int, engine: Engine, device: Device) -> WindowScorer:
    if engine == "onnx":
        return OnnxWindowScorer.load(model_file, num_threads=num_threads)
    try:
        # Takes seconds to import: only where it computes.
        from protector_models.detectors.torch_window_scorer import TorchWindowScorer  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(f"detector.engine: 'torch' needs torch, transformers and onnx: {error}") from error
    return TorchWindowScorer.load(model_file, device=device, num_threads=num_threads)

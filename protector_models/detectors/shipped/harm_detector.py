"""The harm detector that ships with the project: a small int8 encoder that judges every piece of an answer.

Neither torch nor transformers is imported here: a replica is ready in a fraction of a second.

Shapes: K = 2 + C logits of one piece (answer, text alone, then one per category), S pieces of one response.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

import numpy as np
from tokenizers import Tokenizer

from protector_models.checkpoints.cards import CheckpointCard, CheckpointError
from protector_models.detectors.shipped.detector_heads import Array as PooledVectors
from protector_models.detectors.shipped.detector_heads import WindowLogits
from protector_models.detectors.shipped.minors_rule import MINORS_RULE, apply_minors_rule
from protector_models.detectors.shipped.needs_head import NeedsHead
from protector_models.detectors.shipped.scorer_loading import load_scorer
from protector_models.detectors.shipped.weights_in_use import TOKENIZER_FILE, find_weights_in_use
from protector_models.detectors.shipped.window_aggregation import (
    AGGREGATION,
    ALONE,
    ANSWER,
    FIRST_CATEGORY,
    Numbers,
    join_windows,
    judge_pieces,
)
from protector_models.detectors.shipped.window_layout import (
    MAX_PROMPT_TOKENS,
    MAX_RESPONSE_TOKENS,
    PairLayout,
    TokenPair,
)
from protector_models.detectors.shipped.window_scorer import WindowScorer
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.model_outputs import (
    MAX_SCORED_PIECES,
    Assessment,
    Coverage,
    ItemFailure,
    ScoredPiece,
)
from protector_models.reading.answer_pieces import PIECES
from protector_models.reading.languages import LANGUAGE_RULES, LanguageIdentifier
from protector_models.reading.minor_mentions import mentions_minor
from protector_models.reading.normal_form import NORMALISATION
from protector_models.reading.self_harm_mentions import SELF_HARM_MENTIONS, speaks_of_self_harm
from protector_models.reading.text_windows import TextCover, TextPiece, cover_text
from protector_models.reading.window_cuts import WindowSize
from protector_models.settings import Device, Engine, Weights

_PROMPT_WINDOW = WindowSize(num_tokens=MAX_PROMPT_TOKENS, overlap=16)
_RESPONSE_WINDOW = WindowSize(num_tokens=MAX_RESPONSE_TOKENS, overlap=40)
DEFAULT_MAX_WINDOWS = 64
SCORE_DECIMALS = 4
"""Of every score that is reported."""
_SELF_HARM: Final = "self_harm"
# Pieces are reported that are at least so harmful, and the worst one.
_REPORTED_PIECES = 0.1
_REPORTED_CARELESSNESS = 0.1
# Changed with every change of what counts as read, so that assessments cached under another rule are not used again.
_COUNTING = "unknown and dropped words unread"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Reading:
    """How one exchange is read: its windows and what they cover."""

    windows: list[TokenPair]
    response_indices: list[int]
    """For each window, the response window it holds; the same one stands beside several chunks of a longer prompt."""
    pieces: list[TextPiece | None]
    """Of the response, in the order of the windows that hold them; None where a window has no tokens of it."""
    coverage: Coverage
    languages: tuple[str, ...]
    """Of passages that are not read because the model does not know their language; sorted."""
    speaks_of_self_harm: list[bool]
    """Of each piece, whether it does by its words."""
    mentions_minor: bool
    """Whether what was tokenised of prompt or response does."""

    def passages(self) -> list[str]:
        """Return what a text alone says, piece by piece, behind those of each window all of them together."""
        found: list[str] = []
        pieces = iter(self.pieces)
        for window in self.windows:
            texts = [
                "" if piece is None else piece.normal_form for _, piece in zip(window.pieces, pieces, strict=False)
            ]
            found += [*texts, " ".join(texts)]
        return found

    @property
    def has_prompt(self) -> bool:
        """Whether any window holds tokens of a prompt."""
        return any(window.has_prompt for window in self.windows)

    @property
    def is_truncated(self) -> bool:
        return self.coverage.characters_evaluated < self.coverage.characters_total


class OnnxHarmDetector:
    """Scores exchanges in [0, 1], 1 meaning that the response is harmful.

    - Every piece of the response (`answer_pieces`) is scored, in the light of the prompt and of the pieces around it.
      `harmfulness` is that of the worst one, as `window_aggregation` says; `pieces` names those that make it up.
      Scores are calibrated on held-out data to be probabilities there; the card holds the calibration.
    - An exchange without a prompt is scored by a head of its own, trained on texts standing alone.
    - Categories come from a third head, trained on harmful rows only: how likely each is *given* that the piece is
      harmful. A category's score never exceeds `harmfulness`. `sexual_minors` is none of the head's but a rule, of the
      exchange and of each piece alike: see `minors_rule`. A piece that speaks of self-harm by its words
      (`self_harm_mentions`) has its whole harmfulness as the score of `self_harm`: what may push somebody over the edge
      must not pass for another kind of harm.
    - The response is read in windows that are cut between pieces, the prompt in overlapping ones. Window i pairs prompt
      chunk i mod P with response window i mod R, for i up to the larger of P and R, so every character is read at least
      once unless that takes more than `max_windows` windows; then head, tail and evenly spread ones are read, and
      `truncated` and `coverage` say so.
    - Text is read in its normal form (`normal_form`): disguised words are read as what they stand for. Words that are
      in characters without tokens even then count as not read; `unread_characters` has the rule. Emoji and other
      characters without words count as read.
    - Passages in another language than English count as not read, and `languages` names theirs.
    - Of a text alone `needs` says what the person who wrote it may need, and of an answer `carelessness` how surely it
      passes over such a person, where the weights have a head for it (`needs_head`). Neither changes a score.
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
        *,
        max_windows: int,
        needs: NeedsHead | None = None,
    ) -> None:
        self._card = card
        self._scales_K, self._biases_K = np.array([(one.scale, one.bias) for one in card.calibrations]).T
        self._tokenizer = tokenizer
        self._identifier = identifier
        self._scorer = scorer
        self._needs = needs
        self._layout = PairLayout.for_vocabulary(tokenizer)
        self._max_windows = max_windows
        # Other windows give long texts other scores, other counting another coverage: caches must keep them apart.
        self._revision = card.make_revision(
            f"{_PROMPT_WINDOW} {_RESPONSE_WINDOW} max {max_windows} {_COUNTING} {scorer.engine} {NORMALISATION} "
            f"{LANGUAGE_RULES} {PIECES} {AGGREGATION} {MINORS_RULE} "
            f"{SELF_HARM_MENTIONS}{'' if needs is None else f' {needs.revision}'}"
        )

    @classmethod
    def load(
        cls,
        directory: Path,
        *,
        num_threads: int,
        weights: Weights = "both",
        max_windows: int = DEFAULT_MAX_WINDOWS,
        engine: Engine = "onnx",
        device: Device = "cpu",
    ) -> Self:
        """Loads a weights directory after checking its hashes; takes about a second, and with an accurate one three.

        Args:
            directory: holds card.json, model.onnx, heads.safetensors and tokenizer.json; the same of an accurate
                detector in its folder `accurate`, and a head for needs in `needs`, where there are such.
            num_threads: CPU threads that compute; the ONNX engine scores a window on each.
            weights: which of both.
            max_windows: the most windows read of one exchange, at least 1.
            engine: what runs the encoder; torch takes seconds to load, and rounds otherwise than the int8 engine.
            device: where torch computes.

        Raises:
            CheckpointError: a file is missing, damaged or of another prompt layout.
            ConfigurationError: the engine or the device is not to be had here.
            ValueError: a number is out of range.
        """
        found = find_weights_in_use(directory, weights)
        scorer = load_scorer(found, num_threads=num_threads, engine=engine, device=device)
        needs = None if weights == "accurate" else NeedsHead.load(directory, found.fast)
        return cls.compose(found.directory, found.card, scorer, max_windows=max_windows, needs=needs)

    @classmethod
    def compose(
        cls,
        directory: Path,
        card: CheckpointCard,
        scorer: WindowScorer,
        *,
        max_windows: int = DEFAULT_MAX_WINDOWS,
        needs: NeedsHead | None = None,
    ) -> Self:
        """Puts a detector together from the tokenizer of a directory, a card, a scorer and a head for needs.

        Raises:
            CheckpointError: the card does not fit the detector.
            ValueError: `max_windows` is less than 1.
        """
        if max_windows < 1:
            raise ValueError(f"max_windows must be at least 1, got {max_windows}")
        if len(card.calibrations) != FIRST_CATEGORY + len(card.categories):
            raise CheckpointError(
                f"{directory}: {len(card.calibrations)} calibrations, expected {FIRST_CATEGORY + len(card.categories)}"
            )
        tokenizer: Tokenizer = Tokenizer.from_file(str(directory / TOKENIZER_FILE))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(card, tokenizer, LanguageIdentifier.load(), scorer, max_windows=max_windows, needs=needs)

    @property
    def revision(self) -> str:
        """Its "name@revision": equal revisions give equal assessments."""
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
        return [self._conclude(reading, windows) for reading, windows in self._score(exchanges)]

    def find_logits(self, exchanges: Sequence[Exchange]) -> list[Numbers]:
        """Returns for each exchange the logits [S, K] of its pieces before calibration, which is fitted on them.

        Those of a pair are calibrated already: its card changes nothing.

        Raises:
            RuntimeError: ONNX Runtime failed.
        """
        return [join_windows(windows, reading.response_indices) for reading, windows in self._score(exchanges)]

    def find_pooled(self, exchanges: Sequence[Exchange]) -> list[tuple[list[str], PooledVectors]]:
        """Returns for each exchange the passages of its response and their pooled vectors [S, P], to learn from.

        Of a text alone passages are its pieces, behind those of each window all of them together; of an answer to a
        prompt they are its windows.

        Raises:
            RuntimeError: ONNX Runtime failed.
        """
        found: list[tuple[list[str], PooledVectors]] = []
        for reading, windows in self._score(exchanges):
            pooled_SP = _pool(windows, whole=reading.has_prompt)
            assert pooled_SP is not None  # every engine with an encoder gives them
            found.append(([""] * len(pooled_SP) if reading.has_prompt else reading.passages(), pooled_SP))
        return found

    def _score(self, exchanges: Sequence[Exchange]) -> list[tuple[_Reading, list[WindowLogits]]]:
        readings: list[_Reading] = []

        def read_all() -> Iterator[TokenPair]:
            for exchange in exchanges:
                reading = self._read(exchange)
                readings.append(reading)
                yield from reading.windows

        scored = iter(self._scorer.score(read_all()))
        return [(reading, [next(scored) for _ in reading.windows]) for reading in readings]

    def _read(self, exchange: Exchange) -> _Reading:
        prompt, response = (
            cover_text(text, self._tokenizer, self._identifier, size, max_windows=self._max_windows, by_piece=by_piece)
            for text, size, by_piece in (
                (exchange.question(), _PROMPT_WINDOW, False),
                (exchange.response, _RESPONSE_WINDOW, True),
            )
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
            pieces=[piece for window in response.windows for piece in window.pieces or (None,)],
            coverage=coverage,
            languages=tuple(sorted(prompt.languages | response.languages)),
            speaks_of_self_harm=[
                piece is not None and speaks_of_self_harm(piece.normal_form)
                for window in response.windows
                for piece in window.pieces or (None,)
            ],
            mentions_minor=any(map(mentions_minor, prompt.normal_forms + response.normal_forms)),
        )

    def _pair_windows(self, prompt: TextCover, response: TextCover, response_indices: Sequence[int]) -> list[TokenPair]:
        return [
            self._layout.join(
                prompt.windows[index % len(prompt.windows)].token_ids,
                response.windows[response_index].token_ids,
                [(piece.first, piece.last) for piece in response.windows[response_index].pieces],
            )
            for index, response_index in enumerate(response_indices)
        ]

    def _conclude(self, reading: _Reading, windows: Sequence[WindowLogits]) -> Assessment | ItemFailure:
        logits_SK = join_windows(windows, reading.response_indices) * self._scales_K + self._biases_K
        if not np.isfinite(logits_SK).all():
            return ItemFailure(error="NotFiniteScore", message="the model's output was not a finite number")
        harm_S, categories_SC = judge_pieces(logits_SK, ANSWER if reading.has_prompt else ALONE)
        if _SELF_HARM in self._card.categories:
            categories_SC[reading.speaks_of_self_harm, self._card.categories.index(_SELF_HARM)] = harm_S[
                reading.speaks_of_self_harm
            ]
        return Assessment(
            harmfulness=round(float(harm_S.max()), SCORE_DECIMALS),
            categories=self._name(categories_SC.max(axis=0), reading),
            detector=self.revision,
            truncated=reading.is_truncated,
            coverage=reading.coverage,
            languages=reading.languages,
            pieces=self._report(reading, harm_S, categories_SC) if self._scorer.tells_pieces_apart else None,
            needs=self._find_needs(reading, windows),
            carelessness=self._find_carelessness(reading, windows),
        )

    def _find_needs(self, reading: _Reading, windows: Sequence[WindowLogits]) -> dict[str, float]:
        pooled_SP = None if self._needs is None or reading.has_prompt else _pool(windows, whole=False)
        if self._needs is None or pooled_SP is None:
            return {}
        needs = self._needs.find_needs(reading.passages(), pooled_SP)
        return {need: round(score, SCORE_DECIMALS) for need, score in needs.items()}

    def _find_carelessness(self, reading: _Reading, windows: Sequence[WindowLogits]) -> float | None:
        pooled_SP = _pool(windows, whole=True) if self._needs is not None and reading.has_prompt else None
        if self._needs is None or pooled_SP is None:
            return None
        carelessness = round(self._needs.find_carelessness(pooled_SP), SCORE_DECIMALS)
        return carelessness if carelessness >= _REPORTED_CARELESSNESS else None

    def _report(self, reading: _Reading, harm_S: Numbers, categories_SC: Numbers) -> tuple[ScoredPiece, ...]:
        worst = np.argsort(-harm_S, kind="stable")[:MAX_SCORED_PIECES]
        kept = sorted(place for rank, place in enumerate(worst) if rank == 0 or harm_S[place] >= _REPORTED_PIECES)
        return tuple(
            ScoredPiece(
                start=piece.start,
                end=piece.end,
                harmfulness=round(float(harm_S[place]), SCORE_DECIMALS),
                categories=self._name(categories_SC[place], reading),
            )
            for place in kept
            if (piece := reading.pieces[place]) is not None
        )

    def _name(self, scores_C: Numbers, reading: _Reading) -> dict[str, float]:
        scores = {
            name: round(float(score), SCORE_DECIMALS)
            for name, score in zip(self._card.categories, scores_C, strict=True)
        }
        return apply_minors_rule(scores, mentions_minor=reading.mentions_minor)


def _pool(windows: Sequence[WindowLogits], *, whole: bool) -> PooledVectors | None:
    """Return the vectors of all passages of some windows, or of each window as a whole; None where there are none."""
    pooled = [window.pooled_SP for window in windows if window.pooled_SP is not None]
    return np.concatenate([vectors[-1:] if whole else vectors for vectors in pooled]) if pooled else None

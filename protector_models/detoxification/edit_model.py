"""The edit model that ships with the project: a small int8 encoder that tags the words of a sentence.

It is for toxic wording: insults, slurs, obscenity in a text that says something besides. What is harmful for what it
says, such as instructions, no edit makes safe: policies leave such categories to other methods.

Shapes: W words, T tokens, K edit tags.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
import onnxruntime  # type: ignore[import-untyped]  # ships no types
from pydantic import Field
from tokenizers import Tokenizer

from protector_models.checkpoints.cards import CheckpointError, WeightsCard
from protector_models.detoxification.broken_sentences import BROKEN_SENTENCE, SENTENCE_RULES
from protector_models.detoxification.edit_decoding import DecodingPlan, SentenceScores, edit_sentence
from protector_models.detoxification.edit_encoding import EDIT_LAYOUT, encode_words
from protector_models.detoxification.protected_words import PROTECTION_RULES
from protector_models.detoxification.replaced_ranges import replace_ranges
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.sentences import split_sentences
from protector_models.reading.code_blocks import find_code, is_within
from protector_models.reading.languages import LANGUAGE_RULES, LanguageIdentifier
from protector_models.reading.normal_form import NORMALISATION
from protector_models.running.onnx_sessions import SLOW_FUSIONS, load_session

SHIPPED_EDIT_MODEL = Path(__file__).parents[1] / "weights" / "edit_model"
"""The weights directory that ships with the project."""

EDIT_MODEL_FILE = "model.onnx"
EDIT_TOKENIZER_FILE = "tokenizer.json"
EDIT_INPUT = "input_ids"
"""Input of the graph, int64 [1, T]; its outputs are logits: edit [1, T], tags [1, T, K], toxic [1], fluent [1]."""

_ENGLISH = "en"
_MAX_TOKENS = 160
"""Of a sentence, which has at most 400 characters; the model was trained on shorter ones."""


class EditModelCard(WeightsCard):
    """The card of an edit model."""

    layout: str
    """Name of the way in which sentences are read."""
    tags: tuple[str, ...]
    """What the model's outputs stand for, in order; a word of which none is taken is kept."""
    decoding: DecodingPlan
    tolerance: Annotated[str, Field(min_length=1)]
    """How far the figures of a repeated training run may lie from these."""

    def make_revision(self) -> str:
        """Returns "name@revision": equal revisions give equal edits of equal texts."""
        return self.make_revision_of(
            {
                "layout": self.layout,
                "tags": self.tags,
                "decoding": self.decoding.model_dump(),
                "reading": f"{_MAX_TOKENS} {NORMALISATION} {LANGUAGE_RULES} {PROTECTION_RULES} {SENTENCE_RULES}"
                f" {' '.join(SLOW_FUSIONS)}",
            }
        )


class EditModel:
    """Edits the toxic wording of texts, sentence by sentence. Implements `TextEditor`.

    What it does to a text depends on nothing but the text. All that it does not mean to change keeps its characters;
    links, addresses, code and the marks of lists and tables are never changed. A text that is surely in another
    language than English is left as it is.
    """

    def __init__(
        self,
        card: EditModelCard,
        scorer: "OnnxSentenceScorer",
        identifier: LanguageIdentifier,
        executor: ThreadPoolExecutor,
    ) -> None:
        self._card = card
        self._identifier = identifier
        self._scorer = scorer
        self._executor = executor
        self._revision = card.make_revision()

    @classmethod
    def load(cls, directory: Path = SHIPPED_EDIT_MODEL, *, num_threads: int) -> Self:
        """Loads a weights directory after checking its hashes; takes about a second.

        Args:
            directory: holds card.json, model.onnx and tokenizer.json.
            num_threads: texts that are edited at the same time, at least 1.

        Raises:
            CheckpointError: a file is missing, damaged or made for another way of reading.
            ValueError: `num_threads` is less than 1.
        """
        if num_threads < 1:
            raise ValueError(f"num_threads must be at least 1, got {num_threads}")
        card = EditModelCard.load(directory)
        if card.layout != EDIT_LAYOUT:
            raise CheckpointError(f"{directory}: trained with layout {card.layout}, this code reads {EDIT_LAYOUT}")
        missing = {EDIT_MODEL_FILE, EDIT_TOKENIZER_FILE} - card.files.keys()
        if missing:
            raise CheckpointError(f"{directory}: the card gives no hash for {', '.join(sorted(missing))}")
        return cls(
            card,
            OnnxSentenceScorer.load(directory, num_tags=len(card.tags)),
            LanguageIdentifier.load(),
            ThreadPoolExecutor(num_threads, thread_name_prefix="edit-model"),
        )

    @property
    def revision(self) -> str:
        """Its "name@revision"."""
        return self._revision

    def edit(self, texts: Sequence[str]) -> list[str | ItemFailure]:
        """Edits each text; may be called from several threads at once and may be repeated.

        Returns:
            One value per text, in order: the text itself where nothing in it is toxic, an empty one where nothing else
            is, an `ItemFailure` where the text has no UTF-8 form, the model gave no number, or every edit of a sentence
            would leave a broken one ("BrokenSentence").

        Raises:
            RuntimeError: ONNX Runtime failed, for instance for want of memory.
        """
        return list(self._executor.map(self._edit, texts))

    def _edit(self, text: str) -> str | ItemFailure:
        try:
            text.encode()
        except UnicodeEncodeError:
            return ItemFailure(error="InvalidText", message="expected text without lone surrogates")
        try:
            edited = self._edit_sentences(text)
        except FloatingPointError as error:
            return ItemFailure(error="NotFiniteScore", message=str(error))
        # Asked only now: naming a language takes longer than to find that nothing is toxic.
        is_foreign = edited != text and self._identifier.name_language(text) not in {None, _ENGLISH}
        if is_foreign:
            return text
        if edited is None:
            return ItemFailure(error=BROKEN_SENTENCE, message="expected an edit that leaves every sentence whole")
        return edited

    def _edit_sentences(self, text: str) -> str | None:
        blocks = find_code(text)
        places = [
            (sentence.start, sentence.end)
            for sentence in split_sentences(text)
            if not is_within(sentence.start, sentence.end, blocks)
        ]
        edited = [
            edit_sentence(text[start:end], self._scorer, self._card.tags, self._card.decoding) for start, end in places
        ]
        whole = [sentence for sentence in edited if sentence is not None]
        return replace_ranges(text, places, whole) if len(whole) == len(edited) else None


class OnnxSentenceScorer:
    """Runs the encoder on one sentence, on the thread that calls. Implements `SentenceScorer`."""

    def __init__(self, session: onnxruntime.InferenceSession, tokenizer: Tokenizer) -> None:
        self._session = session
        self._tokenizer = tokenizer

    @classmethod
    def load(cls, directory: Path, *, num_tags: int) -> Self:
        """Loads graph and tokenizer.

        Args:
            directory: holds them.
            num_tags: K, which the graph must have.

        Raises:
            CheckpointError: the graph cannot be loaded, or has another number of tags.
        """
        session = load_session(directory / EDIT_MODEL_FILE)
        found = session.get_outputs()[1].shape[-1]
        if found != num_tags:
            raise CheckpointError(f"{directory / EDIT_MODEL_FILE}: has {found} tags, the card {num_tags}")
        tokenizer: Tokenizer = Tokenizer.from_file(str(directory / EDIT_TOKENIZER_FILE))
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return cls(session, tokenizer)

    def score(self, sentence: str) -> SentenceScores:
        """Scores a sentence.

        Raises:
            FloatingPointError: a score is not a finite number.
        """
        encoded = encode_words(sentence, self._tokenizer, max_tokens=_MAX_TOKENS)
        ids_1T = np.array([encoded.ids], dtype=np.int64)
        edit_1T, tags_1TK, toxic_1, fluent_1 = self._session.run(None, {EDIT_INPUT: ids_1T})
        if not all(np.isfinite(logits).all() for logits in (edit_1T, tags_1TK, toxic_1, fluent_1)):
            raise FloatingPointError("the model's output was not a finite number")
        first_tokens_W = [token or 0 for token in encoded.first_tokens]
        seen_W = np.array([token is not None for token in encoded.first_tokens], dtype=bool)
        free_W = np.array([not word.is_fixed for word in encoded.words], dtype=bool)
        return SentenceScores(
            words=encoded.words,
            edited_W=np.where(seen_W & free_W, _sigmoid(edit_1T[0][first_tokens_W]), 0.0),
            tag_logits_WK=tags_1TK[0][first_tokens_W],
            toxic=float(_sigmoid(toxic_1)[0]),
            fluent=float(_sigmoid(fluent_1)[0]),
        )


def _sigmoid(logits: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    return np.asarray(1.0 / (1.0 + np.exp(-logits.astype(np.float64))))

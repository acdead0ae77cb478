"""A language model that was only taught to go on with texts, asked as if it chatted; and one in GGUF unpacked.

It is for demonstrations: such a model says what a text like the one before might say, true or not.

Importing this module takes seconds.

Shapes: B texts of a run, always 1; T tokens.
"""

import io
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GgufConfig,
    LogitsProcessorList,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)

from protector_models.mllms.plain_conversations import first_line, is_over, write_conversation
from protector_models.mllms.vision_language_model import Draws
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import ConfigurationError, UnansweredError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.running.split_runs import TRANSFORMERS_ERRORS
from protector_models.running.writing_thread import IsWanted
from protector_models.transformer_models.pretrained_weights import quietly
from protector_models.transformer_models.text_generation import Abandoned, Pieces, draw_with

_MAX_NEW_TOKENS = 120
_MAX_PROMPT_TOKENS = 2_048
_REPETITION_PENALTY = 1.15
"""Without it a model of this size says one sentence again and again."""
_DRAWS = Draws(temperature=0.7, top_p=0.9, seed=0)


def unpack_gguf(file: Path, folder: Path) -> None:
    """Write the model and the tokenizer of a GGUF file as transformers does, the weights in 16 bits.

    To read the names of a quarter of a million tokens takes most of a minute: once is enough.

    Args:
        file: the model.
        folder: where they are written; it is there once all of them are.

    Raises:
        ConfigurationError: the file cannot be read, or the folder cannot be written.
    """
    unfinished = folder.with_name(f"{folder.name}.{os.getpid()}")
    try:
        # One of its bars does not ask whether bars are wanted.
        with quietly(), redirect_stderr(io.StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
            model = AutoModelForCausalLM.from_pretrained(
                str(file.parent),
                gguf_file=file.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.bfloat16,
            )
            tokenizer.save_pretrained(unfinished)
            model.save_pretrained(unfinished)
        unfinished.rename(folder)
    except (*TRANSFORMERS_ERRORS, OSError, ImportError, struct.error) as error:
        raise ConfigurationError(
            f"{file}: expected a language model in GGUF, and room beside it ({type(error).__name__})"
        ) from error
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


class BaseLanguageModel:
    """Writes one paragraph in answer to a conversation, on the thread that calls it. Implements `AnsweringModel`."""

    def __init__(self, model: Any, tokenizer: Any, *, revision: str) -> None:
        """Put a model together.

        Args:
            model: a causal language model of transformers in evaluation mode.
            tokenizer: the model's.
            revision: "name@revision".
        """
        self._model = model
        self._tokenizer = tokenizer
        self._revision = revision
        self._generation = GenerationConfig(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
            max_new_tokens=_MAX_NEW_TOKENS,
            do_sample=False,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.eos_token_id,
        )

    @classmethod
    def load(cls, folder: Path, *, revision: str, num_threads: int) -> Self:
        """Load a model and its tokenizer.

        Args:
            folder: as transformers writes it.
            revision: "name@revision".
            num_threads: CPU threads of torch, in the whole process.

        Raises:
            ConfigurationError: it cannot be loaded.
        """
        torch.set_num_threads(num_threads)
        try:
            with quietly():
                tokenizer = AutoTokenizer.from_pretrained(folder)
                model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        except (*TRANSFORMERS_ERRORS, OSError) as error:
            raise ConfigurationError(f"{folder}: expected a language model ({type(error).__name__})") from error
        return cls(model.eval(), tokenizer, revision=revision)

    @property
    def revision(self) -> str:
        """The "name@revision" of the model."""
        return self._revision

    def answer(
        self, events: Sequence[ConversationEvent], *, is_wanted: IsWanted
    ) -> Iterator[tuple[int, str | ItemFailure]]:
        """Answer each conversation; yield its place and the answer."""
        for place, event in enumerate(events):
            text = self._write(event, None, is_wanted)
            yield place, text or ItemFailure(error="EmptyAnswer", message="expected some text")

    def stream(self, event: ConversationEvent, *, emit: Callable[[str], None], is_wanted: IsWanted) -> None:
        """Answer one conversation; call `emit` with each piece of the answer as it is written.

        Raises:
            UnansweredError: it wrote nothing.
        """
        if not self._write(event, Pieces(self._read, emit), is_wanted):
            raise UnansweredError("EmptyAnswer: expected some text")

    def _write(self, event: ConversationEvent, pieces: Pieces | None, is_wanted: IsWanted) -> str:
        ids_BT = self._tokenizer(write_conversation(event), return_tensors="pt")["input_ids"][:, -_MAX_PROMPT_TOKENS:]
        num_given = ids_BT.shape[1]
        draws = draw_with([_DRAWS.derive_seed(event)], temperature=_DRAWS.temperature, top_p=_DRAWS.top_p)
        with torch.inference_mode():
            written_BT = self._model.generate(
                input_ids=ids_BT,
                attention_mask=torch.ones_like(ids_BT),
                generation_config=self._generation,
                logits_processor=LogitsProcessorList([RepetitionPenaltyLogitsProcessor(_REPETITION_PENALTY), *draws]),
                stopping_criteria=StoppingCriteriaList(
                    [Abandoned(is_wanted), _LineIsWritten(lambda ids: is_over(self._decode(ids)), num_given)]
                ),
                streamer=pieces,
            )
        return self._read(written_BT[0, num_given:].tolist())

    def _read(self, ids: Sequence[int]) -> str:
        return first_line(self._decode(ids))

    def _decode(self, ids: Sequence[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=True)
        assert isinstance(text, str)
        return text


class _LineIsWritten(StoppingCriteria):
    """Ends a text with its first line."""

    def __init__(self, is_line: Callable[[Sequence[int]], bool], num_given: int) -> None:
        self._is_line = is_line
        self._num_given = num_given

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:  # noqa: ARG002  # theirs
        is_over = self._is_line(input_ids[0, self._num_given :].tolist())
        return torch.full((len(input_ids),), is_over, device=input_ids.device)

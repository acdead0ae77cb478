"""A causal or sequence-to-sequence language model from transformers that writes harmless answers.

Drawn texts are computed one by one and take their randomness from the task's seed alone. The likeliest texts are
computed together up to a number of tokens; the device may round differently in batches of another shape, so only where
`tokens_per_run` is 1 (the default on a CPU) is a text the same to the last bit whatever its neighbours are.

Importing this module takes seconds.

Shapes: B tasks of a run, T tokens of the longest of them.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedTokenizerBase, StoppingCriteriaList

from protector_models.detoxification.answer_writer import Draft, WritingTask
from protector_models.detoxification.language_model_loading import load_language_model
from protector_models.detoxification.rewrite_attempts import TEMPERATURE, TOP_P
from protector_models.detoxification.rewrite_prompts import encode_prompt
from protector_models.detoxification.settings import GeneratorSettings
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.running.split_runs import TRANSFORMERS_ERRORS, run_or_split
from protector_models.settings import Device
from protector_models.transformer_models.control_tokens import find_control_tokens
from protector_models.transformer_models.exchange_encoding import plan_token_runs
from protector_models.transformer_models.text_generation import Abandoned, draw_with

_TOKENS_PER_RUN: dict[Device, int] = {"cpu": 1, "cuda": 16_384}


@dataclass(frozen=True, slots=True, kw_only=True)
class _EncodedTask:
    index: int
    """Its place in the call."""
    ids: list[int]
    seed: int | None


class LanguageModel:
    """Writes answers on the thread that calls it. Implements `AnswerWriter`."""

    def __init__(
        self,
        model: Any,
        tokenizer: PreTrainedTokenizerBase,
        *,
        generation: GenerationConfig,
        revision: str,
        max_input_tokens: int,
        tokens_per_run: int,
    ) -> None:
        """Put a writer together.

        Args:
            model: a transformers model, or a peft model around one, in evaluation mode on its device.
            tokenizer: the model's.
            generation: decides when a text ends, and pads.
            revision: of the whole.
            max_input_tokens: of the prompt that a task becomes.
            tokens_per_run: tokens computed together, padding and those to be written included.
        """
        self._model = model
        self._tokenizer = tokenizer
        self._generation = generation
        self._revision = revision
        self._max_input_tokens = max_input_tokens
        self._tokens_per_run = tokens_per_run
        self._is_causal = not model.config.is_encoder_decoder
        self._control_tokens = find_control_tokens(tokenizer)

    @classmethod
    def load(cls, settings: GeneratorSettings) -> Self:
        """Load the model that the settings of kind "transformers" name.

        Raises:
            ConfigurationError: it cannot be loaded, or the budgets do not fit it.
        """
        tokens_per_run = settings.tokens_per_run or _TOKENS_PER_RUN[settings.device]
        loaded = load_language_model(settings, tokens_per_run=tokens_per_run)
        return cls(
            loaded.model,
            loaded.tokenizer,
            generation=loaded.generation,
            revision=loaded.revision,
            max_input_tokens=settings.max_input_tokens,
            tokens_per_run=tokens_per_run,
        )

    @property
    def revision(self) -> str:
        """The model's and the adapter's name, and a digest of their files and of how they are asked."""
        return self._revision

    def write(
        self, tasks: Sequence[WritingTask], *, is_wanted: Callable[[], bool]
    ) -> Iterator[tuple[int, Draft | ItemFailure]]:
        """Write an answer for each task; yield its place with it once its run is finished, short tasks first.

        A task that is too long, or that the model fails on alone, is an `ItemFailure`.

        Raises:
            ModelUnavailableError: the GPU failed or is out of memory, or nobody waits any more.
        """
        encoded: list[_EncodedTask] = []
        for index, task in enumerate(tasks):
            ids = encode_prompt(
                self._tokenizer,
                task.prompt,
                task.response,
                is_causal=self._is_causal,
                control_tokens=self._control_tokens,
            )
            if len(ids) > self._max_input_tokens:
                yield (
                    index,
                    ItemFailure(
                        error="InputTooLong", message=f"{len(ids)} tokens, expected at most {self._max_input_tokens}"
                    ),
                )
            else:
                encoded.append(_EncodedTask(index=index, ids=ids, seed=task.seed))
        for run in self._plan(encoded):
            drafts = run_or_split(
                run,
                lambda tasks: self._generate(tasks, is_wanted),
                revision=self._revision,
                num_tokens=len(run[-1].ids),
                also=TRANSFORMERS_ERRORS,
            )
            if not is_wanted():
                raise ModelUnavailableError(f"{self._revision}: given up while it wrote; nobody waits for its texts")
            yield from zip((task.index for task in run), drafts, strict=True)

    def _plan(self, tasks: Sequence[_EncodedTask]) -> list[list[_EncodedTask]]:
        """Return runs of tasks of like lengths, short ones first; one that is drawn is a run of its own."""
        runs = [[task] for task in tasks if task.seed is not None]
        likeliest = [task for task in tasks if task.seed is None]
        runs += (
            [likeliest[place] for place in run]
            for run in plan_token_runs(
                [len(task.ids) for task in likeliest],
                tokens_per_run=self._tokens_per_run,
                new_tokens=int(self._generation.max_new_tokens),
            )
        )
        return sorted(runs, key=lambda run: len(run[-1].ids))

    def _generate(self, run: Sequence[_EncodedTask], is_wanted: Callable[[], bool]) -> list[Draft]:
        length = max(len(task.ids) for task in run)
        ids_BT = torch.full((len(run), length), int(self._generation.pad_token_id), dtype=torch.int64)
        mask_BT = torch.zeros_like(ids_BT)
        for row, task in enumerate(run):
            # A causal model goes on from the last column, so what is missing is filled up on the left.
            columns = slice(length - len(task.ids), length) if self._is_causal else slice(0, len(task.ids))
            ids_BT[row, columns] = torch.tensor(task.ids)
            mask_BT[row, columns] = 1
        with torch.inference_mode():
            written = self._model.generate(
                input_ids=ids_BT.to(self._model.device),
                attention_mask=mask_BT.to(self._model.device),
                generation_config=self._generation,
                logits_processor=_draw_with(run[0].seed),
                stopping_criteria=StoppingCriteriaList([Abandoned(is_wanted)]),
            )
        # A causal model repeats its prompt, a sequence-to-sequence model begins with one token of its own.
        new_BT = written[:, length if self._is_causal else 1 :].cpu()
        return [self._to_draft(ids.tolist()) for ids in new_BT]

    def _to_draft(self, ids: list[int]) -> Draft:
        ends = set(self._generation.eos_token_id)
        end = next((place for place, token in enumerate(ids) if token in ends), None)
        text = self._tokenizer.decode(ids[:end], skip_special_tokens=True)
        assert isinstance(text, str)
        return Draft(text=text, is_cut=end is None)


def _draw_with(seed: int | None) -> LogitsProcessorList:
    return LogitsProcessorList() if seed is None else draw_with([seed], temperature=TEMPERATURE, top_p=TOP_P)

"""An image-text-to-text model from transformers that answers conversations.

The likeliest answers are computed together up to a number of tokens, drawn ones too: each takes its randomness from the
seed and its own conversation. The device may round differently in batches of another shape, so only where
`tokens_per_run` is 1 (the default on a CPU) is an answer the same to the last bit whatever its neighbours are.

Importing this module takes seconds.

Shapes: B conversations of a run, T tokens of the longest of them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from protector_models.images.decoding import DecodingLimits
from protector_models.images.settings import ImageSettings
from protector_models.mllms.encoding import ConversationEncoder, EncodedConversation
from protector_models.mllms.settings import MllmSettings
from protector_models.mllms.vision_language_loading import load_vision_language_model
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import ModelUnavailableError, UnansweredError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.running.split_runs import TRANSFORMERS_ERRORS, run_or_split
from protector_models.running.writing_thread import IsWanted
from protector_models.settings import Device
from protector_models.transformer_models.exchange_encoding import plan_token_runs
from protector_models.transformer_models.text_generation import Abandoned, Pieces, draw_with

_TOKENS_PER_RUN: dict[Device, int] = {"cpu": 1, "cuda": 16_384}


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """How answers are drawn."""

    temperature: float
    """Above 0."""
    top_p: float
    """In (0, 1]."""
    seed: int

    @classmethod
    def from_settings(cls, settings: MllmSettings) -> Self | None:
        """Return what the settings say; None where the likeliest answers are taken."""
        if settings.temperature == 0:
            return None
        top_p = 1.0 if settings.top_p is None else settings.top_p
        return cls(temperature=settings.temperature, top_p=top_p, seed=settings.seed or 0)

    def derive_seed(self, event: ConversationEvent) -> int:
        """Return the seed of an answer, in [0, 2**63): the same for the same messages."""
        identity = hashlib.sha256(str(self.seed).encode())
        for message in event.messages:
            identity.update(b"\n" + message.model_dump_json().encode())
        return int.from_bytes(identity.digest()[:8]) >> 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Task:
    index: int
    """Its place in the call."""
    event: ConversationEvent
    conversation: EncodedConversation


class VisionLanguageModel:
    """Answers conversations on the thread that calls it. Implements `AnsweringModel`."""

    def __init__(
        self,
        model: Any,
        processor: Any,
        *,
        encoder: ConversationEncoder,
        generation: GenerationConfig,
        draws: Draws | None,
        revision: str,
        tokens_per_run: int,
    ) -> None:
        """Put a model together.

        Args:
            model: a transformers model in evaluation mode on its device.
            processor: the model's.
            encoder: makes inputs of conversations.
            generation: decides when an answer ends, and pads.
            draws: None takes the likeliest answers.
            revision: of the whole.
            tokens_per_run: tokens computed together, padding and those to be written included.
        """
        self._model = model
        self._processor = processor
        self._encoder = encoder
        self._generation = generation
        self._draws = draws
        self._revision = revision
        self._tokens_per_run = tokens_per_run

    @classmethod
    def load(cls, settings: MllmSettings, images: ImageSettings, *, num_threads: int) -> Self:
        """Load the model that the settings of kind "transformers" name.

        Args:
            settings: which model, and how it is asked.
            images: what is decoded at most.
            num_threads: CPU threads of torch, in the whole process.

        Raises:
            ConfigurationError: it cannot be loaded, or the budgets do not fit it.
        """
        tokens_per_run = settings.tokens_per_run or _TOKENS_PER_RUN[settings.device]
        loaded = load_vision_language_model(settings, tokens_per_run=tokens_per_run, num_threads=num_threads)
        encoder = ConversationEncoder(
            loaded.processor,
            takes_system=loaded.takes_system,
            max_input_tokens=settings.max_input_tokens,
            max_images=settings.max_images,
            limits=DecodingLimits(
                formats=frozenset(images.formats),
                max_pixels=images.max_pixels,
                max_side=images.max_side,
                max_frames=images.max_frames,
            ),
        )
        return cls(
            loaded.model,
            loaded.processor,
            encoder=encoder,
            generation=loaded.generation,
            draws=Draws.from_settings(settings),
            revision=loaded.revision,
            tokens_per_run=tokens_per_run,
        )

    @property
    def revision(self) -> str:
        """The model's name, and a digest of its files and of how it is asked."""
        return self._revision

    def answer(
        self, events: Sequence[ConversationEvent], *, is_wanted: IsWanted
    ) -> Iterator[tuple[int, str | ItemFailure]]:
        """Answer each conversation; yield its place and the answer once its run is finished, short ones first.

        Raises:
            ModelUnavailableError: the GPU failed or is out of memory, or nobody waits any more.
        """
        tasks: list[_Task] = []
        for index, event in enumerate(events):
            conversation = self._encoder.measure(event)
            if isinstance(conversation, ItemFailure):
                yield index, conversation
            else:
                tasks.append(_Task(index=index, event=event, conversation=conversation))
        for run in self._plan(tasks):
            yield from zip((task.index for task in run), self._answer_run(run, is_wanted), strict=True)

    def stream(self, event: ConversationEvent, *, emit: Callable[[str], None], is_wanted: IsWanted) -> None:
        """Answer one conversation; call `emit` with each piece of the answer as it is written.

        Raises:
            UnansweredError: it cannot be answered.
            ModelUnavailableError: as `answer`.
        """
        outcome: str | ItemFailure
        conversation = self._encoder.measure(event)
        if isinstance(conversation, ItemFailure):
            outcome = conversation
        else:
            pieces = Pieces(self._read, emit)
            task = _Task(index=0, event=event, conversation=conversation)
            (outcome,) = self._answer_run([task], is_wanted, pieces)
        if isinstance(outcome, ItemFailure):
            raise UnansweredError(f"{outcome.error}: {outcome.message}")

    def _plan(self, tasks: Sequence[_Task]) -> Iterator[list[_Task]]:
        """Yield runs of conversations of like lengths; those with images apart, since some processors mix no others."""
        for has_images in (False, True):
            alike = [task for task in tasks if task.conversation.has_images is has_images]
            for run in plan_token_runs(
                [task.conversation.num_tokens for task in alike],
                tokens_per_run=self._tokens_per_run,
                new_tokens=int(self._generation.max_new_tokens),
            ):
                yield [alike[place] for place in run]

    def _answer_run(
        self, run: Sequence[_Task], is_wanted: IsWanted, pieces: Pieces | None = None
    ) -> list[str | ItemFailure]:
        answers = run_or_split(
            run,
            lambda tasks: self._generate(tasks, is_wanted, pieces),
            revision=self._revision,
            num_tokens=max(task.conversation.num_tokens for task in run),
            also=TRANSFORMERS_ERRORS,
        )
        if not is_wanted():
            raise ModelUnavailableError(f"{self._revision}: given up while it wrote; nobody waits for its answers")
        return [answer or ItemFailure(error="EmptyAnswer", message="expected some text") for answer in answers]

    def _generate(self, run: Sequence[_Task], is_wanted: IsWanted, pieces: Pieces | None) -> list[str]:
        inputs = self._encoder.encode([task.conversation.turns for task in run])
        seeds = [self._draws.derive_seed(task.event) for task in run] if self._draws else []
        with torch.inference_mode():
            written_BT = self._model.generate(
                **inputs.to(self._model.device, dtype=self._model.dtype),
                generation_config=self._generation,
                logits_processor=self._draw_with(seeds),
                stopping_criteria=StoppingCriteriaList([Abandoned(is_wanted)]),
                streamer=pieces,
            )
        # A model repeats its prompt.
        return [self._read(ids.tolist()) for ids in written_BT[:, inputs["input_ids"].shape[1] :].cpu()]

    def _draw_with(self, seeds: Sequence[int]) -> LogitsProcessorList:
        if self._draws is None:
            return LogitsProcessorList()
        return draw_with(seeds, temperature=self._draws.temperature, top_p=self._draws.top_p)

    def _read(self, ids: Sequence[int]) -> str:
        """Return the text of an answer's tokens, up to one that ends it."""
        ends = set(self._generation.eos_token_id)
        end = next((place for place, token in enumerate(ids) if token in ends), None)
        text = self._processor.tokenizer.decode(ids[:end], skip_special_tokens=True)
        assert isinstance(text, str)
        return text

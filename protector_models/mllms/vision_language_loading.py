"""Loading an image-text-to-text model with its processor from safetensors, and checking that they fit together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, GenerationConfig

from protector_models.checkpoints.model_folders import hash_folder, locate_model
from protector_models.mllms.conversations import CONVERSATION_LAYOUT
from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.revisions import make_revision
from protector_models.transformer_models.base_models import (
    DTYPES,
    BaseModel,
    explain,
    make_generation_config,
    require_device,
)
from protector_models.transformer_models.pretrained_weights import load_pretrained, require_all_weights


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedVisionLanguageModel:
    """A model that is ready to answer."""

    model: Any
    """A transformers model in evaluation mode on its device."""
    processor: Any
    """The model's; it fills up on the left, since every text goes on from the last column."""
    generation: GenerationConfig
    """Takes the likeliest token until one that ends the text. Nothing of the model's own recommendations is in it."""
    takes_system: bool
    """Whether its chat template knows a system turn."""
    revision: str


def load_vision_language_model(
    settings: MllmSettings, *, tokens_per_run: int, num_threads: int
) -> LoadedVisionLanguageModel:
    """Load what the settings of kind "transformers" name. Code of a repository is never run.

    Args:
        settings: model, device, type, budgets, and how answers are drawn.
        tokens_per_run: decides the shapes of batches, and with them the last bits: a part of the revision.
        num_threads: CPU threads of torch, in the whole process.

    Raises:
        ConfigurationError: something cannot be loaded, or the budgets do not fit it.
    """
    if settings.model is None:
        raise ConfigurationError("mllm: expected model to be set")
    require_device(settings.device, section="mllm")
    torch.set_num_threads(num_threads)
    directory = locate_model(settings.model, section="mllm")
    model, processor = _load(directory, dtype=DTYPES[settings.dtype])
    _check_positions(model.config, settings)
    tokenizer = processor.tokenizer
    generation = make_generation_config(BaseModel(model=model, tokenizer=tokenizer), max_new_tokens=settings.max_tokens)
    # In place of the model's own, from which generate() would take what ours leaves open.
    model.generation_config = generation
    tokenizer.padding_side = "left"
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token_id = generation.pad_token_id
    _check_prompt(processor, generation, settings)
    model.to(settings.device).eval()
    choices = {
        **settings.model_dump(
            include={"device", "dtype", "max_tokens", "temperature", "top_p", "seed", "max_input_tokens", "max_images"}
        ),
        "layout": CONVERSATION_LAYOUT,
        "tokens_per_run": tokens_per_run,
        "files": hash_folder(directory),
    }
    return LoadedVisionLanguageModel(
        model=model,
        processor=processor,
        generation=generation,
        takes_system=_takes_system(processor),
        revision=make_revision(Path(settings.model).name, choices),
    )


def render(processor: Any, chat: Any, **arguments: Any) -> Any:
    """Apply a processor's chat template, up to where the assistant's answer begins.

    Args:
        processor: has the template.
        chat: one conversation, or several, in transformers' form.
        arguments: further ones of `apply_chat_template`.
    """
    # Those of reasoning models read it; to others it must not be named.
    if "enable_thinking" in str(processor.chat_template):
        arguments["enable_thinking"] = False
    return processor.apply_chat_template(chat, add_generation_prompt=True, **arguments)


def _load(directory: Path, *, dtype: torch.dtype) -> tuple[Any, Any]:
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        model, untrained = load_pretrained(AutoModelForImageTextToText, directory, config=config, dtype=dtype)
        processor = AutoProcessor.from_pretrained(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
            directory, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError, TypeError) as error:
        raise ConfigurationError(
            f"{directory}: not an image-text-to-text model that transformers loads: {explain(error)}"
        ) from error
    require_all_weights(directory, untrained)
    missing = [part for part in ("image_processor", "tokenizer", "chat_template") if not getattr(processor, part, None)]
    if missing:
        raise ConfigurationError(f"{directory}: its processor has no {', '.join(missing)}; expected all of them")
    return model, processor


def _check_positions(config: Any, settings: MllmSettings) -> None:
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    needed = settings.max_input_tokens + settings.max_tokens
    if limit is not None and needed > limit:
        raise ConfigurationError(
            f"mllm: max_input_tokens {settings.max_input_tokens} and max_tokens {settings.max_tokens}: expected at "
            f"most the {limit} positions that the model has, got {needed}"
        )


def _check_prompt(processor: Any, generation: GenerationConfig, settings: MllmSettings) -> None:
    """Ask about a picture once: a chat template or processor that fails would else fail on every conversation."""
    parts = [{"type": "image", "image": Image.new("RGB", (64, 64))}, {"type": "text", "text": "?"}]
    try:
        inputs = render(
            processor, [[{"role": "user", "content": parts}]], tokenize=True, return_dict=True, return_tensors="pt"
        )
        ids = inputs["input_ids"][0].tolist()
    except Exception as error:  # a template is a program, and its errors are whatever it likes
        raise ConfigurationError(
            f"mllm.model: {settings.model!r}: its processor or chat template fails ({type(error).__name__})"
        ) from error
    if len(ids) > settings.max_input_tokens:
        raise ConfigurationError(
            f"mllm.max_input_tokens: {settings.max_input_tokens}; expected at least the {len(ids)} tokens of a small "
            "image and a word"
        )
    if ids[-1] in generation.eos_token_id:
        raise ConfigurationError(
            f"mllm.model: {settings.model!r}: its prompt ends with token {ids[-1]}, which ends an answer; expected a "
            "chat template after which the answer begins"
        )


def _takes_system(processor: Any) -> bool:
    """Whether what is said in a system turn is in the prompt."""
    chat = [
        {"role": role, "content": [{"type": "text", "text": text}]}
        for role, text in (("system", "Lighthouse"), ("user", "Hello"))
    ]
    try:
        return "Lighthouse" in render(processor, chat, tokenize=False)
    except Exception:  # noqa: BLE001  # as above; such templates raise an error of their own for a role
        return False

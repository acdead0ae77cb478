"""Loading a generative guard with its tokenizer, adapter and template, and checking that they fit together.

Of a multimodal guard (Llama Guard 4) transformers loads the language model alone.

Importing this module takes seconds.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, PreTrainedTokenizerBase

from protector_models.checkpoints.model_folders import hash_folder, locate_adapter, locate_model
from protector_models.checkpoints.trained_adapters import check_base
from protector_models.descriptions.checkpoint_description import CheckpointDescription, load_description
from protector_models.descriptions.generative_head import GenerativeHead
from protector_models.guards.asking import require_generative
from protector_models.guards.encoding import GuardEncoding
from protector_models.guards.prompts import read_template
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.revisions import make_revision
from protector_models.settings import DetectorSettings, Device
from protector_models.transformer_models.base_models import (
    DTYPES,
    BaseModel,
    load_base_model,
    make_generation_config,
    put_adapter,
    require_device,
)

_TOKENS_PER_RUN: dict[Device, int] = {"cpu": 1, "cuda": 16_384}
_SPARE_TOKENS = 8
"""Kept free in every input: a text may make a few tokens more in its place than by itself."""
_MIN_ROOM = 16
_LAYOUT = "guard-2"
"""Name of how guards are asked and read; part of the revision. Changed with what changes their scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedGuard:
    """A guard that is ready to be asked."""

    model: Any
    """A transformers model, or a peft model around one, in evaluation mode on its device."""
    tokenizer: PreTrainedTokenizerBase
    description: CheckpointDescription
    head: GenerativeHead
    """The description's."""
    encoding: GuardEncoding
    generation: GenerationConfig
    """Greedy."""
    room: int
    """Tokens of prompt and response that fit into one input."""
    tokens_per_run: int
    revision: str


def load_guard(settings: DetectorSettings, *, num_threads: int) -> LoadedGuard:
    """Load what the settings of kind "transformers" name.

    Args:
        settings: model, description, adapter, device, type and budgets.
        num_threads: CPU threads of torch, in the whole process.

    Raises:
        ConfigurationError: something cannot be loaded, or the parts do not fit together.
    """
    if settings.model is None or settings.description is None:
        raise ConfigurationError("detector: expected model and description to be set")
    description = load_description(settings.description)
    head = require_generative(description)
    template = read_template(head, settings.template, description=description.name)
    require_device(settings.device, section="detector")
    torch.set_num_threads(num_threads)
    directory = locate_model(settings.model, section="detector")
    base = load_base_model(directory, dtype=DTYPES[settings.dtype])
    encoding = _make_encoding(base, settings, head, template)
    max_tokens = settings.max_input_tokens or description.window.max_tokens
    room = _find_room(base, settings, encoding, max_tokens=max_tokens, head=head)
    generation = make_generation_config(base, max_new_tokens=head.max_new_tokens)
    # In place of the model's own, from which generate() would take what ours leaves open.
    base.model.generation_config = generation
    model, name, digests = base.model, Path(settings.model).name, [hash_folder(directory)]
    if settings.adapter is not None:
        adapter = locate_adapter(settings.adapter, section="detector")
        check_base(adapter, base_digest=digests[0])
        model, name = put_adapter(model, adapter), f"{name}+{Path(settings.adapter).name}"
        digests.append(hash_folder(adapter))
    model.to(settings.device).eval()
    tokens_per_run = settings.tokens_per_run or _TOKENS_PER_RUN[settings.device]
    choices = {
        **settings.model_dump(include={"device", "dtype", "max_windows"}),
        "layout": _LAYOUT,
        "description": description.model_dump(mode="json"),
        "template": template,
        "max_tokens": max_tokens,
        "tokens_per_run": tokens_per_run,
        # On a CPU the bits of a logit may depend on it.
        "num_threads": num_threads if settings.device == "cpu" else None,
        "files": digests,
    }
    return LoadedGuard(
        model=model,
        tokenizer=base.tokenizer,
        description=description,
        head=head,
        encoding=encoding,
        generation=generation,
        room=room,
        tokens_per_run=tokens_per_run,
        revision=make_revision(name, choices),
    )


def _make_encoding(
    base: BaseModel, settings: DetectorSettings, head: GenerativeHead, template: str | None
) -> GuardEncoding:
    if base.model.config.is_encoder_decoder:
        raise ConfigurationError(f"detector.model: {settings.model!r}: expected a causal language model")
    if not base.tokenizer.is_fast:
        raise ConfigurationError(
            f"detector.model: {settings.model!r}: expected a tokenizer with a tokenizer.json, got "
            f"{type(base.tokenizer).__name__}"
        )
    if head.prompt == "chat_template" and not base.tokenizer.chat_template:
        raise ConfigurationError(
            f"detector.model: {settings.model!r}: its tokenizer has no chat template, which description "
            f"{settings.description!r} asks through"
        )
    return GuardEncoding(base.tokenizer, head, template=template)


def _find_room(
    base: BaseModel, settings: DetectorSettings, encoding: GuardEncoding, *, max_tokens: int, head: GenerativeHead
) -> int:
    """Return how many tokens of text fit into one input, beside the template."""
    limit = getattr(base.model.config.get_text_config(), "max_position_embeddings", None)
    if limit is not None and max_tokens + head.max_new_tokens > limit:
        raise ConfigurationError(
            f"detector.max_input_tokens: {max_tokens}, and {head.max_new_tokens} of the answer: expected at most the "
            f"{limit} positions that the model has"
        )
    try:
        # Once: a chat template that fails would else fail on every request.
        frame, left_out = encoding.count_frame(), encoding.find_left_out()
    except Exception as error:  # a template is a program, and its errors are whatever it likes
        raise ConfigurationError(
            f"detector.model: {settings.model!r}: its chat template fails ({type(error).__name__})"
        ) from error
    if left_out is not None:
        raise ConfigurationError(
            f"detector.model: {settings.model!r}: its chat template leaves the {left_out} out; expected one that shows "
            f"prompt and response as description {settings.description!r} puts them"
        )
    room = max_tokens - frame - _SPARE_TOKENS
    if room < _MIN_ROOM:
        raise ConfigurationError(
            f"detector.max_input_tokens: {max_tokens}; expected at least {frame + _SPARE_TOKENS + _MIN_ROOM}: the "
            f"template alone takes {frame}"
        )
    return room

"""The language model of the generative detoxifier, loaded with its tokenizer and adapter and known to fit together."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from protector_models.checkpoints.cards import CheckpointError
from protector_models.checkpoints.model_folders import hash_folder, locate_adapter, locate_model
from protector_models.checkpoints.trained_adapters import check_base
from protector_models.detoxification.rewrite_attempts import TEMPERATURE, TOP_P
from protector_models.detoxification.rewrite_prompts import REWRITE_LAYOUT, encode_prompt
from protector_models.detoxification.settings import GeneratorSettings
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.revisions import make_revision
from protector_models.transformer_models.base_models import (
    DTYPES,
    BaseModel,
    load_base_model,
    make_generation_config,
    put_adapter,
    require_device,
)

_SECTION = "detoxifier.generator"


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedLanguageModel:
    """A model that is ready to write."""

    model: Any
    """A transformers model, or a peft model around one, in evaluation mode on its device."""
    tokenizer: PreTrainedTokenizerBase
    generation: GenerationConfig
    """Takes the likeliest token until one that ends the text. Nothing of the model's own recommendations is in it."""
    revision: str


def load_language_model(settings: GeneratorSettings, *, tokens_per_run: int) -> LoadedLanguageModel:
    """Load what the settings of kind "transformers" name.

    Args:
        settings: model, adapter, device, type and budgets.
        tokens_per_run: decides the shapes of batches, and with them the last bits: a part of the revision.

    Raises:
        ConfigurationError: something cannot be loaded, or the budgets do not fit it.
    """
    if settings.model is None:
        raise ConfigurationError("detoxifier.generator: expected model to be set")
    require_device(settings.device, section=_SECTION)
    directory = locate_model(settings.model, section=_SECTION)
    base = load_base_model(directory, dtype=DTYPES[settings.dtype])
    _check_positions(base.model.config, settings)
    generation = make_generation_config(base, max_new_tokens=settings.max_new_tokens)
    # In place of the model's own, from which generate() would take what ours leaves open.
    base.model.generation_config = generation
    model, name, digests = base.model, Path(settings.model).name, [hash_folder(directory)]
    if settings.adapter is not None:
        adapter = locate_adapter(settings.adapter, section=_SECTION)
        _check_adapter(adapter, base_digest=digests[0])
        model, name = put_adapter(model, adapter), f"{name}+{Path(settings.adapter).name}"
        digests.append(hash_folder(adapter))
    model.to(settings.device).eval()
    _check_prompt(base, settings)
    choices = {
        **settings.model_dump(include={"device", "dtype", "max_input_tokens", "max_new_tokens"}),
        "layout": REWRITE_LAYOUT,
        "tokens_per_run": tokens_per_run,
        "temperature": TEMPERATURE,
        "top_p": TOP_P,
        "files": digests,
    }
    revision = make_revision(name, choices)
    return LoadedLanguageModel(model=model, tokenizer=base.tokenizer, generation=generation, revision=revision)


def _check_adapter(directory: Path, *, base_digest: str) -> None:
    """Refuse an adapter whose card says that it is for another base or another prompt; one without a card passes.

    Raises:
        CheckpointError: it is, or a file is not the one that the card names.
    """
    card = check_base(directory, base_digest=base_digest)
    if card is not None and card.layout != REWRITE_LAYOUT:
        raise CheckpointError(f"{directory}: trained with the prompt {card.layout!r}, expected {REWRITE_LAYOUT!r}")


def _check_positions(config: PretrainedConfig, settings: GeneratorSettings) -> None:
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    # An encoder and a decoder count from 0 each.
    parts = (settings.max_input_tokens, settings.max_new_tokens)
    needed = max(parts) if config.is_encoder_decoder else sum(parts)
    if limit is not None and needed > limit:
        raise ConfigurationError(
            f"detoxifier.generator: max_input_tokens {parts[0]} and max_new_tokens {parts[1]}: expected at most the "
            f"{limit} positions that the model has, got {needed}"
        )


def _check_prompt(base: BaseModel, settings: GeneratorSettings) -> None:
    """Build a prompt once: a chat template that fails would else fail on every request."""
    try:
        ids = encode_prompt(base.tokenizer, "", "", is_causal=not base.model.config.is_encoder_decoder)
    except Exception as error:  # a template is a program, and its errors are whatever it likes
        raise ConfigurationError(
            f"detoxifier.generator.model: {settings.model!r}: its chat template fails ({type(error).__name__})"
        ) from error
    if len(ids) >= settings.max_input_tokens:
        raise ConfigurationError(
            f"detoxifier.generator.max_input_tokens: {settings.max_input_tokens}; expected more than the {len(ids)} "
            "tokens of the instruction"
        )
    num_embeddings = base.model.get_input_embeddings().num_embeddings
    if max(ids) >= num_embeddings:
        raise ConfigurationError(
            f"detoxifier.generator.model: {settings.model!r}: its tokenizer gives token {max(ids)}; the model has "
            f"{num_embeddings}"
        )

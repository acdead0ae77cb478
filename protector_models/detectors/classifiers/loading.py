"""Loading a sequence classifier with its tokenizer and adapter from safetensors, and checking that they fit together.

Importing this module takes seconds.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import safe_open
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedTokenizerBase,
)

from protector_models.checkpoints.model_folders import ADAPTER_FILES, hash_folder, locate_adapter, locate_model
from protector_models.checkpoints.trained_adapters import check_base
from protector_models.descriptions.checkpoint_description import CheckpointDescription
from protector_models.moderation.errors import ConfigurationError
from protector_models.settings import DetectorSettings
from protector_models.transformer_models.base_models import DTYPES, BaseModel, explain, put_adapter, require_device
from protector_models.transformer_models.pretrained_weights import load_pretrained

_SECTION = "detector"
_HEAD_WEIGHTS = ("score.weight", "classifier.weight", "out_proj.weight")
"""Of the layer that puts out the labels, as transformers names it in the architectures that it knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedClassifier:
    """A classifier that is ready to score."""

    model: Any
    """A transformers model, or a peft model around one, in evaluation mode on its device."""
    tokenizer: PreTrainedTokenizerBase
    labels: Sequence[str]
    """In the order of its logits."""
    max_positions: int | None
    """The longest input that it has positions for, in tokens; None: it says no number."""
    name: str
    """Of the folder, and of the adapter's."""
    digests: Sequence[str]
    """Of the files of model and adapter."""


def load_classifier(settings: DetectorSettings) -> LoadedClassifier:
    """Load the classifier that settings of kind "transformers" name. Code of a repository is never run.

    Raises:
        ConfigurationError: something cannot be loaded, or the layer that puts out the labels has no trained weights.
    """
    assert settings.model is not None, "the settings see to it"
    require_device(settings.device, section=_SECTION)
    directory = locate_model(settings.model, section=_SECTION)
    adapter = None if settings.adapter is None else locate_adapter(settings.adapter, section=_SECTION)
    shapes = {} if adapter is None else _read_shapes(adapter)
    model, untrained = _load_model(directory, settings, num_labels=_count_labels(shapes))
    if missing := sorted(name for name in untrained if not any(key.endswith(name) for key in shapes)):
        raise ConfigurationError(
            f"detector.{'model' if adapter is None else 'adapter'}: no trained weights for {', '.join(missing)}; "
            "expected a sequence classifier, or an adapter that holds them (its modules_to_save)"
        )
    tokenizer = _load_tokenizer(directory)
    config: Any = model.config
    _fit(tokenizer, model)
    labels, max_positions = [config.id2label[index] for index in range(config.num_labels)], _find_max_positions(model)
    name, digests = Path(settings.model).name, [hash_folder(directory)]
    if adapter is not None:
        check_base(adapter, base_digest=digests[0])
        model, name = put_adapter(model, adapter), f"{name}+{Path(str(settings.adapter)).name}"
        digests.append(hash_folder(adapter))
    model.to(settings.device).eval()
    return LoadedClassifier(
        model=model, tokenizer=tokenizer, labels=labels, max_positions=max_positions, name=name, digests=digests
    )


def load_base_classifier(settings: DetectorSettings) -> BaseModel:
    """Load the model that settings of kind "transformers" name as a classifier of one logit, to train one from.

    A language model gets a fresh layer for the logit, from torch's random numbers. Nothing of it is adapted yet.

    Raises:
        ConfigurationError: it cannot be loaded.
    """
    assert settings.model is not None, "the settings see to it"
    directory = locate_model(settings.model, section=_SECTION)
    model, _ = _load_model(directory, settings, num_labels=1)
    tokenizer = _load_tokenizer(directory)
    _fit(tokenizer, model)
    return BaseModel(model=model, tokenizer=tokenizer)


def choose_max_tokens(settings: DetectorSettings, description: CheckpointDescription, loaded: LoadedClassifier) -> int:
    """Return the longest input: as configured, else as described and as long as the model allows.

    Raises:
        ConfigurationError: more is configured than the model has positions for.
    """
    limit, chosen = loaded.max_positions, settings.max_input_tokens
    if chosen is None:
        return min(description.window.max_tokens, limit or description.window.max_tokens)
    if limit is not None and chosen > limit:
        raise ConfigurationError(
            f"detector.max_input_tokens: {chosen}; expected at most the {limit} positions that the model has"
        )
    return chosen


def _load_model(directory: Path, settings: DetectorSettings, *, num_labels: int | None) -> tuple[Any, set[str]]:
    """Return the model and the names of its weights that were not in the files."""
    try:
        config: PretrainedConfig = AutoConfig.from_pretrained(directory, trust_remote_code=False)
        if num_labels is not None and num_labels != config.num_labels:
            config.num_labels = num_labels
        return load_pretrained(
            AutoModelForSequenceClassification, directory, config=config, dtype=DTYPES[settings.dtype]
        )
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ConfigurationError(
            f"detector.model: {directory}: not a model that transformers loads as a sequence classifier: "
            f"{explain(error)}"
        ) from error


def _load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(directory, trust_remote_code=False)
    except (OSError, ValueError, KeyError, ImportError, RuntimeError) as error:
        raise ConfigurationError(
            f"detector.model: {directory}: no tokenizer that transformers loads: {explain(error)}"
        ) from error
    if tokenizer.is_fast:
        # Nothing is cut or filled up behind our back; and what is not set cannot change while threads share it.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _fit(tokenizer: PreTrainedTokenizerBase, model: Any) -> None:
    """Let a tokenizer make what a model takes."""
    _set_padding(model.config, tokenizer)
    # Some tokenizers make more than the model takes, such as segments for one that has none.
    taken = inspect.signature(model.forward).parameters
    tokenizer.model_input_names = [name for name in tokenizer.model_input_names if name in taken]


def _set_padding(config: Any, tokenizer: PreTrainedTokenizerBase) -> None:
    """Give model and tokenizer one padding token: decoders look for the last token that is not it."""
    padding = config.pad_token_id if config.pad_token_id is not None else tokenizer.pad_token_id
    if padding is None:
        padding = tokenizer.unk_token_id if tokenizer.unk_token_id is not None else tokenizer.eos_token_id
    if padding is None:
        raise ConfigurationError(
            f"detector.model: {tokenizer.name_or_path!r}: expected a padding, unknown or end token, got none"
        )
    config.pad_token_id = padding
    config.get_text_config().pad_token_id = padding
    tokenizer.pad_token_id = padding
    # Positions are counted from the left, and no decoder's token sees what follows it.
    tokenizer.padding_side = "right"


def _find_max_positions(model: Any) -> int | None:
    for name, module in model.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # RoBERTa and its kin count positions from behind the padding token's.
            used = 0 if module.padding_idx is None else module.padding_idx + 1
            return module.num_embeddings - used
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return None if limit is None else int(limit)


def _read_shapes(adapter: Path) -> dict[str, Sequence[int]]:
    """Return the shape of every tensor of an adapter."""
    try:
        with safe_open(adapter / ADAPTER_FILES[1], framework="pt") as tensors:
            return {key: tensors.get_slice(key).get_shape() for key in tensors.keys()}  # noqa: SIM118  # it is no dict
    except OSError as error:
        raise ConfigurationError(f"detector.adapter: {adapter}: cannot be read: {explain(error)}") from error


def _count_labels(shapes: dict[str, Sequence[int]]) -> int | None:
    """Return how many labels an adapter's own layer puts out, None where it has none."""
    sizes = {shape[0] for key, shape in shapes.items() if key.endswith(_HEAD_WEIGHTS)}
    return sizes.pop() if len(sizes) == 1 else None

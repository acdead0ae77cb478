"""Tiny MLLMs: LLaVA's and Qwen-VL's architectures with well under a million random weights.

What they answer is noise, but everything on the way is what a real checkpoint brings: processor, chat template, image
places in the text, vision tower, generation. Importing this module takes seconds.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaProcessor,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from protector_models.tiny_checkpoints.vocabulary import write_tokenizer

MAX_POSITIONS = 2_048
"""Tokens of a conversation and its answer together."""

_HIDDEN = 64
_PATCH = 8
_SIDE = 32
"""Pixels of the square that LLaVA's vision tower sees."""

# Large, so that the likeliest token stands far out and no rounding makes another of it.
_SPREAD = 0.5

_QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
_BEGINNING = "[CLS]"
_TURNS = (
    _BEGINNING + "{{% for message in messages %}}[{{{{ message.role }}}}] {{% for part in message.content %}}"
    "{{% if part.type == 'image' %}}{image}{{% else %}}{{{{ part.text }}}}{{% endif %}} "
    "{{% endfor %}}{{% endfor %}}{{% if add_generation_prompt %}}[assistant]{{% endif %}}"
)
"""Who speaks, then what is shown and said, in the order of the parts."""


def write_llava(directory: Path, *, seed: int = 0) -> Path:
    """Write a model such as LLaVA 1.5: a CLIP tower, a projection and a Llama."""
    tokenizer = _write_tokenizer(directory, image="<image>", tokens=("<image>",))
    torch.manual_seed(seed)
    config = LlavaConfig(
        vision_config=_clip(), text_config=_llama(tokenizer), **_llava_fields(tokenizer), image_seq_length=_NUM_PATCHES
    )
    LlavaForConditionalGeneration(config).save_pretrained(directory)
    LlavaProcessor(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        image_processor=CLIPImageProcessor(size={"shortest_edge": _SIDE}, crop_size={"height": _SIDE, "width": _SIDE}),
        tokenizer=tokenizer,
        **_LLAVA_PROCESSING,
        chat_template=tokenizer.chat_template,
    ).save_pretrained(directory)
    return directory


def write_llava_next(directory: Path, *, seed: int = 0) -> Path:
    """Write a model such as LLaVA 1.6, which also sees the tiles of an image."""
    tokenizer = _write_tokenizer(directory, image="<image>", tokens=("<image>",))
    pinpoints = [[_SIDE, 2 * _SIDE], [2 * _SIDE, _SIDE], [2 * _SIDE, 2 * _SIDE]]
    torch.manual_seed(seed)
    config = LlavaNextConfig(
        vision_config=_clip(),
        text_config=_llama(tokenizer),
        **_llava_fields(tokenizer),
        image_grid_pinpoints=pinpoints,
        image_seq_length=_NUM_PATCHES,
    )
    LlavaNextForConditionalGeneration(config).save_pretrained(directory)
    LlavaNextProcessor(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        image_processor=LlavaNextImageProcessor(
            size={"shortest_edge": _SIDE},
            crop_size={"height": _SIDE, "width": _SIDE},
            image_grid_pinpoints=pinpoints,
        ),
        tokenizer=tokenizer,
        **_LLAVA_PROCESSING,
        chat_template=tokenizer.chat_template,
    ).save_pretrained(directory)
    return directory


def write_qwen2_vl(directory: Path, *, seed: int = 0) -> Path:
    """Write a model such as Qwen2-VL, which sees images at their own size."""
    tokenizer = _write_qwen_tokenizer(directory)
    torch.manual_seed(seed)
    config = Qwen2VLConfig(
        vision_config={
            **_QWEN_VISION,
            "embed_dim": _HIDDEN // 2,
            "hidden_size": _HIDDEN,
            "mlp_ratio": 2,
        },
        **_qwen_fields(tokenizer),
    )
    Qwen2VLForConditionalGeneration(config).save_pretrained(directory)
    _write_qwen_processor(Qwen2VLProcessor, directory, tokenizer)
    return directory


def write_qwen2_5_vl(directory: Path, *, seed: int = 0) -> Path:
    """Write a model such as Qwen2.5-VL, whose vision tower looks through windows."""
    tokenizer = _write_qwen_tokenizer(directory)
    torch.manual_seed(seed)
    config = Qwen2_5_VLConfig(
        vision_config={
            **_QWEN_VISION,
            "hidden_size": _HIDDEN // 2,
            "out_hidden_size": _HIDDEN,
            "intermediate_size": _HIDDEN,
            "window_size": 4 * _PATCH,
            "fullatt_block_indexes": [1],
        },
        **_qwen_fields(tokenizer),
    )
    Qwen2_5_VLForConditionalGeneration(config).save_pretrained(directory)
    _write_qwen_processor(Qwen2_5_VLProcessor, directory, tokenizer)
    return directory


FAMILIES: Mapping[str, Callable[[Path], Path]] = {
    "llava-1.5": write_llava,
    "llava-1.6": write_llava_next,
    "qwen2-vl": write_qwen2_vl,
    "qwen2.5-vl": write_qwen2_5_vl,
}
"""For each family of MLLMs, what writes a tiny one into a folder and returns the folder."""


def configuration(directory: Path) -> dict[str, dict[str, object]]:
    """Return what weir.yaml says for a model that was written into a folder."""
    return {
        "mllm": {
            "kind": "transformers",
            "model": str(directory),
            "max_tokens": 32,
            "max_input_tokens": MAX_POSITIONS - 32,
        }
    }


_NUM_PATCHES = (_SIDE // _PATCH) ** 2
_LLAVA_PROCESSING: Mapping[str, Any] = {
    "patch_size": _PATCH,
    "vision_feature_select_strategy": "default",
    "num_additional_image_tokens": 1,
    "image_token": "<image>",
}
_QWEN_VISION: Mapping[str, Any] = {
    "depth": 2,
    "num_heads": 2,
    "patch_size": _PATCH,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
}


def _write_tokenizer(directory: Path, *, image: str, tokens: tuple[str, ...]) -> PreTrainedTokenizerFast:
    tokenizer = write_tokenizer(directory, chat_template=_TURNS.format(image=image), special_tokens=tokens)
    # The template writes it, so the tokenizer adds nothing of its own: it would also add the end of a text.
    tokenizer.bos_token = _BEGINNING
    return tokenizer


def _write_qwen_tokenizer(directory: Path) -> PreTrainedTokenizerFast:
    image = "<|vision_start|><|image_pad|><|vision_end|>"
    return _write_tokenizer(directory, image=image, tokens=_QWEN_TOKENS)


def _write_qwen_processor(kind: type[Any], directory: Path, tokenizer: PreTrainedTokenizerFast) -> None:
    # So many pixels that a page of text becomes no more tokens than the model has positions.
    sizes: dict[str, Any] = {"size": {"shortest_edge": 4 * _PATCH**2, "longest_edge": 1_024 * _PATCH**2}}
    patches: dict[str, Any] = {"patch_size": _PATCH, "merge_size": 2, "temporal_patch_size": 2}
    kind(
        image_processor=Qwen2VLImageProcessor(**sizes, **patches),
        tokenizer=tokenizer,
        video_processor=Qwen2VLVideoProcessor(**sizes, **patches),
        chat_template=tokenizer.chat_template,
    ).save_pretrained(directory)


def _llama(tokenizer: PreTrainedTokenizerFast) -> LlamaConfig:
    return LlamaConfig(**_text_fields(tokenizer), num_key_value_heads=2)


def _clip() -> CLIPVisionConfig:
    return CLIPVisionConfig(
        hidden_size=_HIDDEN // 2,
        intermediate_size=_HIDDEN,
        num_hidden_layers=3,
        num_attention_heads=2,
        image_size=_SIDE,
        patch_size=_PATCH,
        projection_dim=_HIDDEN // 2,
    )


def _llava_fields(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "image_token_index": tokenizer.convert_tokens_to_ids("<image>"),
        "vision_feature_layer": -2,
        "vision_feature_select_strategy": "default",
        "tie_word_embeddings": False,
    }


def _text_fields(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": _HIDDEN,
        "intermediate_size": 2 * _HIDDEN,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": MAX_POSITIONS,
        "initializer_range": _SPREAD,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _qwen_fields(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    start, end, image, video = (tokenizer.convert_tokens_to_ids(token) for token in _QWEN_TOKENS)
    return {
        "text_config": {
            **_text_fields(tokenizer),
            "num_key_value_heads": 2,
            # Of the half of a head's 32 dimensions: time, height, width.
            "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "mrope_section": [4, 6, 6]},
        },
        "vision_start_token_id": start,
        "vision_end_token_id": end,
        "image_token_id": image,
        "video_token_id": video,
        "tie_word_embeddings": False,
    }

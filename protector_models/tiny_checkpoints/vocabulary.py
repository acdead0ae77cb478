"""Tokenizers for tiny checkpoints, made from the vocabulary that the shipped weights use.

Importing this module takes seconds.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerFast

from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, TOKENIZER_FILE

NUM_PIECES = 4_000
CHAT_TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}] {{ message.content }} {% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
"""Of text alone: what is said, after who says it."""


def write_tokenizer(
    directory: Path, *, chat_template: str | None = None, special_tokens: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Write a tokenizer of the 4,000 commonest pieces, whose texts begin with [CLS] and end with [SEP].

    Args:
        directory: is made where it is not there.
        chat_template: what it carries; None: none.
        special_tokens: further ones, such as the place of an image; they get the numbers after the last piece.
    """
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / TOKENIZER_FILE
    file.write_text(json.dumps(_keep_common_pieces(json.loads((SHIPPED_WEIGHTS / TOKENIZER_FILE).read_text()))))
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_file=str(file),
        unk_token="[UNK]",  # noqa: S106
        pad_token="[PAD]",  # noqa: S106
        eos_token="[SEP]",  # noqa: S106
        additional_special_tokens=list(special_tokens),
    )
    tokenizer.chat_template = chat_template
    tokenizer.save_pretrained(directory)
    return tokenizer


def _keep_common_pieces(content: Mapping[str, dict[str, object]]) -> Mapping[str, object]:
    """Return a tokenizer's file with a small vocabulary, which makes training quick."""
    vocabulary = content["model"]["vocab"]
    assert isinstance(vocabulary, dict)
    # Their numbers go by how common they are.
    kept = {piece: number for piece, number in vocabulary.items() if number < NUM_PIECES}
    # The shipped file cuts and fills up; transformers would write that down as the tokenizer's own limits.
    return {**content, "model": {**content["model"], "vocab": kept}, "truncation": None, "padding": None}

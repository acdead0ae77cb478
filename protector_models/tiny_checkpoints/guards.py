"""Generative guards small enough to build in seconds, which say each of their verdicts.

Each has the architecture of its family, a chat template of ours that takes what the family's takes, and weights that
were taught to answer in the family's words. They call a text unsafe where it speaks of killing, and know nothing else:
they are for trying configurations out.

Importing this module takes seconds.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from protector_models.descriptions.checkpoint_description import load_description
from protector_models.descriptions.generative_head import GenerativeHead
from protector_models.detectors.shipped.weights_in_use import SHIPPED_WEIGHTS, TOKENIZER_FILE
from protector_models.guards.encoding import GuardEncoding
from protector_models.tiny_checkpoints.guard_families import GUARD_FAMILIES, MAX_POSITIONS, GuardFamily
from protector_models.tiny_checkpoints.guard_lessons import teach

TEMPLATE_FILE = "template.txt"
"""What `detector.template` names, in the folder of a guard without a chat template."""

_NUM_TOKENS = 1_500
_END, _PAD = "<|end|>", "<|pad|>"


def write_guard(family: str, directory: Path, *, num_steps: int = 160) -> Path:
    """Write the tiny checkpoint of a family: model, tokenizer, and a template file where it needs one.

    Args:
        family: its name.
        directory: is made where it is not there.
        num_steps: of teaching; 0 leaves the weights random, and the answers nonsense.
    """
    parts = GUARD_FAMILIES[family]
    tokenizer = _write_tokenizer(directory, parts)
    template = None
    if parts.chat_template is None:
        template = "Request: {prompt}\nResponse: {response}\nAnswers:\n"
        (directory / TEMPLATE_FILE).write_text(template)
    torch.manual_seed(0)
    model = parts.build(len(tokenizer))
    head = load_description(parts.description).head
    assert isinstance(head, GenerativeHead)
    teach(model, tokenizer, GuardEncoding(tokenizer, head, template=template), parts, head, num_steps=num_steps)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    model.save_pretrained(directory)
    return directory


def configure_guard(family: str, directory: Path) -> dict[str, object]:
    """Return the `detector` section that a family's checkpoint in a folder is used with."""
    parts = GUARD_FAMILIES[family]
    section: dict[str, object] = {
        "kind": "transformers",
        "description": parts.description,
        "model": str(directory),
        "max_input_tokens": MAX_POSITIONS - 64,
    }
    if parts.chat_template is None:
        section["template"] = str(directory / TEMPLATE_FILE)
    return section


FAMILIES: Mapping[str, Callable[[Path], Path]] = {name: partial(write_guard, name) for name in GUARD_FAMILIES}
"""Writes the checkpoint of each family into a folder."""


def _write_tokenizer(directory: Path, parts: GuardFamily) -> PreTrainedTokenizerFast:
    """Write a byte-level tokenizer, such as the families have, made from the pieces of the shipped vocabulary."""
    directory.mkdir(parents=True, exist_ok=True)
    pieces = sorted(Tokenizer.from_file(str(SHIPPED_WEIGHTS / TOKENIZER_FILE)).get_vocab())
    words = [piece for piece in pieces if piece.isascii() and piece.isalpha()]
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    roles = [f"<|{role}|>" for role in ("user", "assistant", "question", "answer")]
    trainer = trainers.BpeTrainer(
        vocab_size=_NUM_TOKENS,
        show_progress=False,
        special_tokens=[_PAD, _END, *roles],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    # The family's words often enough to become tokens: a tiny model learns short answers sooner.
    answers = [*parts.answers, *parts.answers_alone] * 500
    made.train_from_iterator([*words, *(f" {word}" for word in words), *answers], trainer)
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]  # transformers leaves it untyped
        tokenizer_object=made, pad_token=_PAD, eos_token=_END, additional_special_tokens=roles
    )
    tokenizer.chat_template = parts.chat_template
    tokenizer.save_pretrained(directory)
    return tokenizer

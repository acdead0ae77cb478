"""From a window of an exchange to the tokens that a guard goes on from."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from protector_models.control_tokens import find_control_tokens
from protector_models.detectors.exchange_windows import ExchangeWindow, Offsets
from protector_models.guards.generative_head import GenerativeHead
from protector_models.guards.prompts import build_messages, fill_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NOTHING = ExchangeWindow(prompt="", response="")


class GuardEncoding:
    """Shows windows to one guard with its own tokenizer. Several threads may call it at once."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", head: GenerativeHead, *, template: str | None) -> None:
        """Put one together.

        Args:
            tokenizer: the guard's; a fast one, since only those tell where their tokens are.
            head: how the guard is asked.
            template: of a guard without a chat template.
        """
        self._tokenizer = tokenizer
        self._head = head
        self._template = template
        self.forbidden = sorted(find_control_tokens(tokenizer).union(head.reserved))
        """What a text must not hold when it is put into the template."""

    def tokenise(self, text: str) -> Offsets:
        """Return where the tokens of a text are, without special tokens."""
        found = self._tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return [(start, end) for start, end in found["offset_mapping"]]

    def encode(self, window: ExchangeWindow, *, alone: bool, arguments: Mapping[str, Any]) -> list[int]:
        """Return the token ids after which the guard writes its verdict.

        Args:
            window: what it is shown.
            alone: whether it is of a text that stands alone.
            arguments: of the chat template.
        """
        if self._template is not None:
            return self._encode_template(fill_template(self._template, window))
        text = self._tokenizer.apply_chat_template(
            build_messages(self._head, window, alone=alone), tokenize=False, add_generation_prompt=True, **arguments
        )
        # The template has put the special tokens in already.
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def count_frame(self) -> int:
        """Return how many tokens the longest of its prompts has without any text."""
        return max(
            len(self.encode(_NOTHING, alone=alone, arguments=question.arguments))
            for alone in (False, True)
            for question in self._head.questions
        )

    def _encode_template(self, text: str) -> list[int]:
        found = self._tokenizer(text, add_special_tokens=self._head.adds_special_tokens, verbose=False)
        ids = list(found["input_ids"])
        # After the token that ends a text the model would write nothing.
        return ids[:-1] if ids[-1:] == [self._tokenizer.eos_token_id] else ids

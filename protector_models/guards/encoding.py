"""From a window of an exchange to the tokens that a guard goes on from."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from protector_models.descriptions.generative_head import GenerativeHead
from protector_models.descriptions.templates import fill_template
from protector_models.guards.prompts import build_messages
from protector_models.reading.exchange_windows import ExchangeWindow, Offsets
from protector_models.transformer_models.control_tokens import find_control_tokens
from protector_models.transformer_models.exchange_encoding import tokenise

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NOTHING = ExchangeWindow(prompt="", response="")
_PROBE = ExchangeWindow(prompt="Lighthouse", response="Submarine")
"""Words of no template."""


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
        return tokenise(self._tokenizer, text)[0]

    def find_unread(self, text: str) -> Sequence[int]:
        """Return the characters that the guard gets nothing of though they carry words, in order."""
        return tokenise(self._tokenizer, text)[1]

    def encode(self, window: ExchangeWindow, *, alone: bool, arguments: Mapping[str, Any]) -> list[int]:
        """Return the token ids after which the guard writes its verdict.

        Args:
            window: what it is shown.
            alone: whether it is of a text that stands alone.
            arguments: of the chat template.
        """
        if self._template is not None:
            return self._encode_template(fill_template(self._template, window))
        text = self._apply_chat_template(window, alone=alone, arguments=arguments)
        # The template has put the special tokens in already.
        return list(self._tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    def find_left_out(self) -> str | None:
        """Return what the chat template does not show of an exchange, "prompt" or "response"; None: it shows both."""
        if self._template is not None:
            return None
        for question in self._head.questions:
            shown = self._apply_chat_template(_PROBE, alone=False, arguments=question.arguments)
            shown_alone = self._apply_chat_template(_PROBE, alone=True, arguments=question.arguments)
            if _PROBE.prompt not in shown or _PROBE.prompt not in shown_alone:
                return "prompt"
            if _PROBE.response not in shown:
                return "response"
        return None

    def count_frame(self) -> int:
        """Return how many tokens the longest of its prompts has without any text."""
        return max(
            len(self.encode(_NOTHING, alone=alone, arguments=question.arguments))
            for alone in (False, True)
            for question in self._head.questions
        )

    def _apply_chat_template(self, window: ExchangeWindow, *, alone: bool, arguments: Mapping[str, Any]) -> str:
        text = self._tokenizer.apply_chat_template(
            build_messages(self._head, window, alone=alone), tokenize=False, add_generation_prompt=True, **arguments
        )
        assert isinstance(text, str)
        return text

    def _encode_template(self, text: str) -> list[int]:
        found = self._tokenizer(text, add_special_tokens=self._head.adds_special_tokens, verbose=False)
        ids = list(found["input_ids"])
        # After the token that ends a text the model would write nothing.
        return ids[:-1] if ids[-1:] == [self._tokenizer.eos_token_id] else ids

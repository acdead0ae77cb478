"""From an exchange to the inputs of a model of transformers: as it is where it fits, else window by window.

Importing this module is fast; the tokenizer brings transformers with it.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import Coverage
from protector_models.reading.exchange_windows import ExchangeWindow, Offsets, cover_exchange
from protector_models.reading.unread_characters import find_unread

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Encoded = dict[str, list[int]]
"""One input as a tokenizer gives it: `input_ids`, and whatever else the model takes, each of one length."""

EXCHANGE_ENCODING = "whole or windows, 8 spare"
"""Name of the rule; part of the revision of every detector that reads so. Changed with what a window holds, and with
what counts as read."""

_SPARE_TOKENS = 8
"""Kept free where an exchange is cut: its parts may make a few tokens more in their place than by themselves."""
_MIN_ROOM = 16
_CHARACTERS_PER_TOKEN = 8
"""Hardly a token has as many: a longer text is not tokenised just to see whether it fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedExchange:
    """What a model reads of an exchange."""

    inputs: Sequence[Encoded]
    """At least one."""
    coverage: Coverage


class ExchangeEncoder:
    """Encodes exchanges with one tokenizer and one template. Several threads may call it at once."""

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        encode: Callable[[str, str], Encoded],
        *,
        max_tokens: int,
        overlap: int,
        max_windows: int,
    ) -> None:
        """Put one together.

        Args:
            tokenizer: a fast one: only those tell where their tokens are.
            encode: makes the whole input of a question and a response, uncut.
            max_tokens: of one input, template included.
            overlap: tokens that neighbouring windows share.
            max_windows: of one exchange, at least 1.

        Raises:
            ConfigurationError: the tokenizer is not a fast one, or the template leaves no room for text.
        """
        if not tokenizer.is_fast:
            raise ConfigurationError(
                f"detector.model: {tokenizer.name_or_path!r}: expected a tokenizer with a tokenizer.json, got "
                f"{type(tokenizer).__name__}"
            )
        frame = len(encode("", "")["input_ids"])
        self._room = max_tokens - frame - _SPARE_TOKENS
        if self._room < _MIN_ROOM:
            raise ConfigurationError(
                f"detector.max_input_tokens: {max_tokens}; expected at least {frame + _SPARE_TOKENS + _MIN_ROOM}, as "
                f"the template alone takes {frame}"
            )
        self._tokenizer = tokenizer
        self._encode = encode
        self._max_tokens = max_tokens
        self._overlap = overlap
        self._max_windows = max_windows

    def encode(self, exchange: Exchange) -> EncodedExchange:
        """Encode the question and the response of an exchange: whole, or in as many windows as it takes."""
        question, response = exchange.question(), exchange.response
        tokenise_once = lru_cache(maxsize=2)(partial(tokenise, self._tokenizer))
        whole = ExchangeWindow(prompt=question, response=response)
        num_characters = len(question) + len(response)
        if num_characters <= self._max_tokens * _CHARACTERS_PER_TOKEN and len(self._ids(whole)) <= self._max_tokens:
            num_unread = sum(len(tokenise_once(text)[1]) for text in (question, response))
            windows, num_read = [whole], num_characters - num_unread
        else:
            cover = cover_exchange(
                question,
                response,
                lambda text: tokenise_once(text)[0],
                max_tokens=self._room,
                overlap=self._overlap,
                max_windows=self._max_windows,
                find_unread=lambda text: tokenise_once(text)[1],
            )
            windows = [fitting for window in cover.windows for fitting in self._fit(window)]
            num_read = cover.characters_evaluated
        return EncodedExchange(
            inputs=[self._encode(window.prompt, window.response) for window in windows],
            coverage=Coverage.of(exchange, characters_evaluated=num_read, characters_total=num_characters),
        )

    def _ids(self, window: ExchangeWindow) -> Sequence[int]:
        return self._encode(window.prompt, window.response)["input_ids"]

    def _fit(self, window: ExchangeWindow) -> list[ExchangeWindow]:
        """Return the window, or where it came out too long, windows of the halves of its longer text."""
        prompt, response = window.prompt, window.response
        if len(self._ids(window)) <= self._max_tokens or max(len(prompt), len(response)) < 2:
            return [window]
        if len(response) >= len(prompt):
            halves = [ExchangeWindow(prompt=prompt, response=half) for half in _halve(response)]
        else:
            halves = [ExchangeWindow(prompt=half, response=response) for half in _halve(prompt)]
        return [fitting for half in halves for fitting in self._fit(half)]


def tokenise(tokenizer: "PreTrainedTokenizerBase", text: str) -> tuple[Offsets, Sequence[int]]:
    """Return where the tokens of a text are, and which of its characters they tell nothing of, in order.

    Args:
        tokenizer: a fast one.
        text: any; no special tokens are put around it.
    """
    found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
    ids, spans = list(found["input_ids"]), [(start, end) for start, end in found["offset_mapping"]]
    unknown = tokenizer.unk_token_id
    # Words that are too long for some tokenizers become one unknown token though every letter is known.
    unread = {
        place
        for token, (start, end) in zip(ids, spans, strict=True)
        if token == unknown
        for place in range(start, end)
        if text[place].isascii() and text[place].isalnum()
    }
    if not text.isascii():
        unread.update(find_unread(text, ids, spans, unknown))
    return spans, sorted(unread)


def plan_token_runs(lengths: Sequence[int], *, tokens_per_run: int, new_tokens: int = 0) -> Iterator[list[int]]:
    """Yield runs of inputs of like lengths, short ones first, each input by its place and in one run.

    Args:
        lengths: of the inputs, in tokens.
        tokens_per_run: that are computed together, padding included; a longer input is a run of its own.
        new_tokens: that each input gets while it is computed.
    """
    run: list[int] = []
    for place in sorted(range(len(lengths)), key=lambda place: lengths[place]):
        # In order of length: the input that would join is the longest of the run.
        if run and (len(run) + 1) * (lengths[place] + new_tokens) > tokens_per_run:
            yield run
            run = []
        run.append(place)
    if run:
        yield run


def _halve(text: str) -> tuple[str, str]:
    middle = len(text) // 2
    return text[:middle], text[middle:]

"""The one way tokens of an exchange become a window for the harm detector: training, evaluation and serving call it.

The tokens are those of the normal form (`normal_form`). In serving and evaluation they may differ from training's in
one case: there, `text_windows` breaks a run of more than 32 characters without a space before it is tokenised.

The layout's name is part of the detector's revision, so changing the layout without a new name cannot pass unseen:
scores made under the old layout stay apart from those made under the new one in every cache and every output.

Shapes: T tokens of one window, S pieces of its response.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

PAIR_LAYOUT = "pieces-p64-r160"
"""Name of the layout: a prompt chunk of at most 64 tokens and pieces of a response of at most 160 together."""

MAX_PROMPT_TOKENS = 64
MAX_RESPONSE_TOKENS = 160
MAX_PAIR_TOKENS = MAX_PROMPT_TOKENS + MAX_RESPONSE_TOKENS + 3

Bounds = tuple[int, int]
"""First token, and one past the last."""


class Vocabulary(Protocol):
    """What the layout needs of a tokenizer (`tokenizers.Tokenizer` has it)."""

    def token_to_id(self, token: str) -> int | None:
        """Returns the id of a token, None where the vocabulary lacks it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """One window as the encoder reads it."""

    input_ids: list[int]
    """[T] token ids, at most `MAX_PAIR_TOKENS`."""
    segment_ids: list[int]
    """[T] 0 for the prompt's half, 1 for the response's half."""
    pieces: tuple[Bounds, ...]
    """[S] tokens of each piece that is judged in this window, in order, apart, none empty; at least one. The last
    piece of a response holds the separator behind it, so an empty response is one piece."""

    @property
    def has_prompt(self) -> bool:
        """Whether any token of a prompt is in the window; its half always holds the start and a separator."""
        return self.segment_ids[2] == 0

    @property
    def response(self) -> Bounds:
        """The response's half."""
        return len(self.segment_ids) - sum(self.segment_ids), len(self.segment_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairLayout:
    """Joins a prompt chunk and a response window: start, prompt, separator, response, separator.

    A response alone keeps its place after the first separator, and a prompt alone before it, so the encoder can tell
    which of the two it reads.
    """

    start_id: int
    separator_id: int

    @classmethod
    def for_vocabulary(cls, vocabulary: Vocabulary) -> "PairLayout":
        """Takes the ids of the special tokens from a vocabulary.

        Raises:
            ValueError: the vocabulary lacks a special token.
        """
        start_id, separator_id = vocabulary.token_to_id("[CLS]"), vocabulary.token_to_id("[SEP]")
        if start_id is None or separator_id is None:
            raise ValueError("the vocabulary has no [CLS] or no [SEP] token")
        return cls(start_id=start_id, separator_id=separator_id)

    def join(
        self, prompt_ids: Sequence[int], response_ids: Sequence[int], pieces: Sequence[Bounds] | None = None
    ) -> TokenPair:
        """Builds the window of one prompt chunk and one response window, either of which may be empty.

        Args:
            prompt_ids: of the prompt chunk.
            response_ids: of the response window.
            pieces: tokens of the response window that are judged, by piece, in order; None: all of it, as one piece.

        Raises:
            ValueError: a part is longer than the layout allows.
        """
        if len(prompt_ids) > MAX_PROMPT_TOKENS or len(response_ids) > MAX_RESPONSE_TOKENS:
            raise ValueError(
                f"window of {len(prompt_ids)} + {len(response_ids)} tokens, "
                f"at most {MAX_PROMPT_TOKENS} + {MAX_RESPONSE_TOKENS} fit {PAIR_LAYOUT}"
            )
        input_ids = [self.start_id, *prompt_ids, self.separator_id, *response_ids, self.separator_id]
        num_prompt_side = len(prompt_ids) + 2
        segment_ids = [0] * num_prompt_side + [1] * (len(input_ids) - num_prompt_side)
        bounds = list(pieces or [(0, len(response_ids))])
        if bounds[-1][1] == len(response_ids):
            bounds[-1] = (bounds[-1][0], len(response_ids) + 1)
        return TokenPair(
            input_ids=input_ids,
            segment_ids=segment_ids,
            pieces=tuple((num_prompt_side + first, num_prompt_side + end) for first, end in bounds),
        )

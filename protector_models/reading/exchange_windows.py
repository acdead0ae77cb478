"""Cuts an exchange into windows that a model can read at once, so that a long text is read and not cut off.

Where prompt and response do not fit together, both are covered by windows that share some tokens with their neighbours.
Window i pairs prompt chunk i mod P with response window i mod R, for i up to the larger of P and R, so that everything
is read at least once. Where that takes more windows than allowed, the first, the last and evenly spread ones are kept,
and what is not read is counted.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from protector_models.moderation.even_sampling import sample_evenly
from protector_models.reading.window_cuts import WindowSize, spread_windows

Offsets = Sequence[tuple[int, int]]
"""Characters [start, end) of each token of a text, in order."""

# Of a text far longer than all windows together only head and tail are tokenised; hardly a token has as many
# characters.
_CHARACTERS_PER_TOKEN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeWindow:
    """What is read at once. Either part may be empty."""

    prompt: str
    response: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeCover:
    """How an exchange is read."""

    windows: list[ExchangeWindow]
    """At least one."""
    characters_evaluated: int
    characters_total: int


def cover_exchange(
    prompt: str,
    response: str,
    tokenise: Callable[[str], Offsets],
    *,
    max_tokens: int,
    overlap: int,
    max_windows: int,
    find_unread: Callable[[str], Sequence[int]] = lambda _: (),
) -> ExchangeCover:
    """Cover prompt and response by windows.

    Args:
        prompt: any text.
        response: any text.
        tokenise: returns where the tokens of a text are, without special tokens.
        max_tokens: of prompt and response of one window together, at least 2.
        overlap: tokens that neighbouring windows share; at most half a window.
        max_windows: at most so many windows are kept, at least 1.
        find_unread: returns which characters of a text the model gets nothing of though they carry words, in order.
    """
    limit = max_windows * max_tokens * _CHARACTERS_PER_TOKEN
    parts = [_Part.tokenise(text, tokenise, find_unread, limit=limit) for text in (prompt, response)]
    num_prompt, num_response = (part.num_tokens for part in parts)
    prompt_size = min(num_prompt, max(max_tokens // 2, max_tokens - num_response))
    spans = [
        part.cut(size, overlap=overlap)
        for part, size in zip(parts, (prompt_size, max_tokens - prompt_size), strict=True)
    ]
    num_windows = max(len(found) for found in spans)
    kept = range(num_windows) if num_windows <= max_windows else sample_evenly(num_windows, max_windows)
    read = [[found[index % len(found)] for index in kept] for found in spans]
    return ExchangeCover(
        windows=[
            ExchangeWindow(prompt=prompt[slice(*prompt_span)], response=response[slice(*response_span)])
            for prompt_span, response_span in zip(*read, strict=True)
        ],
        characters_evaluated=sum(_count_covered(found, part.unread) for found, part in zip(read, parts, strict=True)),
        characters_total=len(prompt) + len(response),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """One of the two texts: its tokens, or those of its head and its tail where it is far too long."""

    edges: list[list[int]]
    """Of each stretch that is tokenised: where its tokens begin, and where it ends. What lies between two tokens
    belongs to the first of them."""
    unread: Sequence[int]
    """Characters that no token tells anything of, in order."""

    @classmethod
    def tokenise(
        cls,
        text: str,
        tokenise: Callable[[str], Offsets],
        find_unread: Callable[[str], Sequence[int]],
        *,
        limit: int,
    ) -> Self:
        stretches = [(0, len(text))]
        if len(text) > limit:
            stretches = [(0, limit // 2), (len(text) - limit // 2, len(text))]
        edges: list[list[int]] = []
        unread: list[int] = []
        for first, end in stretches:
            stretch = text[first:end]
            starts = [first + start for start, _ in tokenise(stretch)]
            edges.append([first, *starts[1:], end])
            unread += (first + place for place in find_unread(stretch))
        return cls(edges=edges, unread=unread)

    @property
    def num_tokens(self) -> int:
        """Tokens; 0 exactly for an empty text."""
        return sum(len(edges) - 1 for edges in self.edges) if self.edges != [[0, 0]] else 0

    def cut(self, num_tokens: int, *, overlap: int) -> list[tuple[int, int]]:
        """Return characters [start, end) of each window; one for a text without tokens."""
        if num_tokens == 0:
            return [(0, 0)]
        size = WindowSize(num_tokens=num_tokens, overlap=min(overlap, num_tokens // 2))
        return [
            (edges[first], edges[end]) for edges in self.edges for first, end in spread_windows(len(edges) - 1, size)
        ]


def _count_covered(spans: Iterable[tuple[int, int]], unread: Sequence[int]) -> int:
    count = reached = 0
    for start, end in sorted(set(spans)):
        first = max(start, reached)
        if first < end:
            count += end - first - (bisect_left(unread, end) - bisect_left(unread, first))
        reached = max(reached, end)
    return count

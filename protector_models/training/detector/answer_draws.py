"""Drawing what the detector is trained on: answers as they come, shortened, framed, mixed, and put into structures.

An answer is a list of pieces (`reading.answer_pieces`). It is harmful if one of them is; which one is known only of
pieces that were put there by a draw, and of safe answers, whose pieces are all harmless.

What the draws teach:

- harm in harmless company is harm, wherever it stands (`mixed` draws, half of them with a harmless guest);
- polite openings and closings say nothing of what stands between them;
- "Sure, here is ..." is no sign of harm: it is cut from half of the answers of both kinds;
- a short plain answer, or a sentence from the middle of one, is harmless without its company;
- lists, tables, code and JSON hold harm as sentences do.
"""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass

from protector_models.reading.answer_pieces import split_pieces
from protector_models.reading.normal_form import normalise
from protector_models.reading.traced_edits import Lookup
from protector_models.records.examples import Example
from protector_models.records.mix import RowKind
from protector_models.training.detector.frames import CLOSINGS, OPENINGS

_WILLING_OPENER = re.compile(
    r"(sure|of course|certainly|absolutely|okay|ok|yes|no problem|here(?:'s| is| are)|as an ai)\b", re.IGNORECASE
)
_MAX_GUEST_PIECES = 3
_MAX_GUEST_CHARACTERS = 280
_MAX_HOST_PIECES = 8
_MAX_EXCERPT_PIECES = 3
# Of longer answers a window shows a part: a frame that is cut with it would tell harmful from safe by itself.
_MAX_FRAMED_CHARACTERS = 480

# Their answers are harmful, or not, for what was said before: their prompts are kept.
_CONTEXTUAL_SETS = frozenset({"diasafety", "hh_rlhf_pairs", "synthetic"})
# Those are no guests in other answers, nor are these, whose harm is not of one piece.
_HOMEBOUND_SETS = _CONTEXTUAL_SETS | {"latent_jailbreak", "gptfuzz"}

# What stands before and behind an item of lists, tables, JSON, code, quotations, dialogues, HTML; {n} is its number.
_STRUCTURES = (
    ("- ", ""),
    ("* ", ""),
    ("{n}. ", ""),
    ("| ", " |"),
    ("| {n} | ", " |"),
    ('"{n}": "', '",'),
    ('"', '",'),
    ("# ", ""),
    ("// ", ""),
    ("> ", ""),
    ("A: ", ""),
    ("Note: ", ""),
    ("<li>", "</li>"),
    ("<p>", "</p>"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawPlan:
    """Shares of the draws, each in [0, 1]."""

    mixed: float = 0.3
    """Of all draws: a host's pieces with a guest among them."""
    frame_as_host: float = 0.2
    """Of mixed draws: a polite opening and closing are the host."""
    framed: float = 0.25
    """Of answers short enough to be seen with it whole: an opening, a closing, or both."""
    cut_opener: float = 0.5
    """Of answers that begin with a willing sentence: without it."""
    excerpt: float = 0.4
    """Of safe answers: one to three pieces from anywhere."""
    cut_response: float = 0.3
    """Of harmful answers: cut at a random piece; length alone tells harmful from safe in several sets."""
    keep_head: float = 0.7
    """Of longer answers: from their first piece on; the others from anywhere."""
    structured: float = 0.08
    """Of all draws: as items of a list, a table, JSON, comments, or a dialogue."""
    drop_prompt: float = 0.3
    """Of answers."""
    text_as_answer: float = 0.4
    """Of texts standing alone: as an answer to some harmless prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PiecedExample:
    """An example whose response, in normal form, is cut into pieces."""

    example: Example
    prompt: str
    """In normal form."""
    pieces: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnPiece:
    """One piece and what is known of it."""

    text: str
    harmful: float | None
    """1.0, 0.0, or None where only the answer's label is known."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnAnswer:
    """One row of a batch before it is tokenised."""

    example: Example
    """Whose weight and categories count."""
    harmful: float | None
    prompt: str
    pieces: Sequence[DrawnPiece]
    is_answer: bool
    """Whether it teaches the head of answers; texts standing alone teach the other one only."""


def cut_examples(examples: Sequence[Example], lookup: Lookup) -> list[PiecedExample]:
    """Brings examples into normal form and cuts them; rows that teach nothing are left out.

    Args:
        examples: of any kind.
        lookup: the tokenizer's `token_to_id`.
    """
    return [
        cut_example(example, lookup)
        for example in examples
        if example.harmful is not None or example.categories is not None
    ]


def cut_example(example: Example, lookup: Lookup) -> PiecedExample:
    """Brings one example into normal form and cuts it, labelled or not."""
    return PiecedExample(
        example=example, prompt=normalise(example.prompt, lookup).text, pieces=_cut(example.response, lookup)
    )


def _cut(response: str, lookup: Lookup) -> tuple[str, ...]:
    text = normalise(response, lookup).text
    return tuple(text[start:end] for start, end in split_pieces(text))


class AnswerDraws:
    """Draws answers from examples; the same generator state gives the same draw."""

    def __init__(self, rows: Sequence[PiecedExample], plan: DrawPlan) -> None:
        self._plan = plan
        self._hosts = [row for row in rows if row.example.is_benign_set and row.pieces]
        self._harmful_guests = [row for row in rows if row.example.harmful == 1.0 and _may_be_guest(row)]
        self._safe_guests = [row for row in rows if row.example.harmful == 0.0 and _may_be_guest(row)]

    def draw(self, row: PiecedExample, rng: random.Random) -> DrawnAnswer:
        """Draws one answer: of the row itself, or a mixed one in its place."""
        has_parts = bool(self._hosts and self._harmful_guests and self._safe_guests)
        is_mixed = has_parts and rng.random() < self._plan.mixed
        drawn = self._mix(rng) if is_mixed else self._draw_row(row, rng)
        if len(drawn.pieces) > 1 and rng.random() < self._plan.structured:
            return _with(drawn, pieces=_put_into_structure(drawn.pieces, rng))
        return drawn

    def draw_whole(self, row: PiecedExample) -> DrawnAnswer:
        """Draws a row with its prompt, unmixed and unframed, from its head on: for comparison with another answer."""
        example = row.example
        # Of a preference nothing is known but the order of the two.
        is_known = example.kind is not RowKind.PREFERENCE
        pieces = _label(row.pieces, example) if is_known else _leave_open(row.pieces)
        return DrawnAnswer(
            example=example,
            harmful=example.harmful if is_known else None,
            prompt=row.prompt,
            pieces=pieces,
            is_answer=True,
        )

    def _draw_row(self, row: PiecedExample, rng: random.Random) -> DrawnAnswer:
        example, plan = row.example, self._plan
        if example.kind in (RowKind.TEXT, RowKind.PROMPT):
            prompt = ""
            if example.kind is RowKind.TEXT and self._hosts and rng.random() < plan.text_as_answer:
                prompt = rng.choice(self._hosts).prompt
            pieces = _label(row.pieces, example)
            return DrawnAnswer(
                example=example, harmful=example.harmful, prompt=prompt, pieces=pieces, is_answer=bool(prompt)
            )
        pieces = _label(self._shorten(row, rng), example)
        is_short = sum(len(piece.text) for piece in pieces) <= _MAX_FRAMED_CHARACTERS
        if pieces and is_short and rng.random() < plan.framed:
            pieces = _frame(pieces, rng)
        may_drop = bool(pieces) and example.source_set not in _CONTEXTUAL_SETS
        prompt = "" if may_drop and rng.random() < plan.drop_prompt else row.prompt
        return DrawnAnswer(example=example, harmful=example.harmful, prompt=prompt, pieces=pieces, is_answer=True)

    def _shorten(self, row: PiecedExample, rng: random.Random) -> Sequence[str]:
        pieces, plan = row.pieces, self._plan
        may_cut = len(pieces) > 1 and _WILLING_OPENER.match(pieces[0]) and rng.random() < plan.cut_opener
        if may_cut and _label(pieces, row.example)[0].harmful != 1.0:
            pieces = pieces[1:]
        if len(pieces) <= 1:
            return pieces
        if row.example.harmful == 0.0 and rng.random() < plan.excerpt:
            length = rng.randint(1, _MAX_EXCERPT_PIECES)
            first = rng.randrange(len(pieces))
            return pieces[first : first + length]
        if not row.example.harmful_part and rng.random() < plan.cut_response:
            length = rng.randint(max(1, len(pieces) // 3), len(pieces))
            first = 0 if rng.random() < plan.keep_head else rng.randint(0, len(pieces) - length)
            return pieces[first : first + length]
        return pieces

    def _mix(self, rng: random.Random) -> DrawnAnswer:
        guest = rng.choice(self._harmful_guests if rng.random() < 0.5 else self._safe_guests)
        host = rng.choice(self._hosts)
        label = guest.example.harmful
        # Of a guest of several pieces it is not known which one bears the harm.
        guests = _label(guest.pieces, guest.example)
        if rng.random() < self._plan.frame_as_host:
            pieces = _frame(guests, rng)
        else:
            length = rng.randint(1, _MAX_HOST_PIECES)
            first = rng.randint(0, max(0, len(host.pieces) - length))
            hosts = _label(host.pieces[first : first + length], host.example)
            place = rng.randint(0, len(hosts))
            pieces = [*hosts[:place], *guests, *hosts[place:]]
        prompts = (host.prompt, host.prompt, guest.prompt, "")
        return DrawnAnswer(
            example=guest.example, harmful=label, prompt=rng.choice(prompts), pieces=pieces, is_answer=True
        )


def _may_be_guest(row: PiecedExample) -> bool:
    is_short = 0 < len(row.pieces) <= _MAX_GUEST_PIECES and sum(map(len, row.pieces)) <= _MAX_GUEST_CHARACTERS
    is_own = row.example.kind in (RowKind.ANSWER, RowKind.TEXT) and row.example.source_set not in _HOMEBOUND_SETS
    return is_short and is_own


def _label(pieces: Sequence[str], example: Example) -> list[DrawnPiece]:
    if example.harmful == 1.0 and example.harmful_part:
        # In normal form the words may be written otherwise: of a part that is not found nothing is known.
        harmful = [piece.strip() in example.harmful_part or example.harmful_part in piece for piece in pieces]
        if any(harmful):
            return [DrawnPiece(text=piece, harmful=float(bad)) for piece, bad in zip(pieces, harmful, strict=True)]
    known = 0.0 if example.harmful == 0.0 else 1.0 if example.harmful == 1.0 and len(pieces) == 1 else None
    return [DrawnPiece(text=piece, harmful=known) for piece in pieces]


def _leave_open(pieces: Sequence[str]) -> list[DrawnPiece]:
    return [DrawnPiece(text=piece, harmful=None) for piece in pieces]


def _frame(pieces: list[DrawnPiece], rng: random.Random) -> list[DrawnPiece]:
    which = rng.random()
    opening = [DrawnPiece(text=rng.choice(OPENINGS), harmful=0.0)] if which < 0.75 else []
    closing = [DrawnPiece(text=rng.choice(CLOSINGS), harmful=0.0)] if which > 0.3 else []
    return [*opening, *pieces, *closing]


def _put_into_structure(pieces: Sequence[DrawnPiece], rng: random.Random) -> list[DrawnPiece]:
    before, after = rng.choice(_STRUCTURES)
    return [
        DrawnPiece(text=f"{before.format(n=place)}{piece.text.strip()}{after}", harmful=piece.harmful)
        for place, piece in enumerate(pieces, start=1)
    ]


def _with(drawn: DrawnAnswer, *, pieces: Sequence[DrawnPiece]) -> DrawnAnswer:
    return DrawnAnswer(
        example=drawn.example,
        harmful=drawn.harmful,
        prompt=drawn.prompt,
        pieces=pieces,
        is_answer=drawn.is_answer,
    )

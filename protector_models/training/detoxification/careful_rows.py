"""Rows written for this project that teach the edit model to be careful: innocent sentences, and edits of toxic ones.

Both are full of the same words: what is a name, an animal or a tool in the first is an insult in the second, so that
the model cannot do with the word alone. Public domain (CC0 1.0); facts in them were not looked up.
"""

from dataclasses import dataclass
from pathlib import Path

from protector_models.records.examples import is_held_out
from protector_models.training.detoxification.edit_alignment import WeightedRewrite

CAREFUL_ROWS = Path(__file__).parent / "careful_texts"
"""`innocent.txt` has a sentence a line, `pairs.txt` a toxic sentence, " => " and its edit; headings begin with "# "."""

_HEADING = "# "
_ARROW = " => "


@dataclass(frozen=True, slots=True, kw_only=True)
class RewrittenSentence:
    """A toxic sentence and how it was rewritten."""

    source: str
    rewrites: tuple[WeightedRewrite, ...]
    human_rewrites: tuple[str, ...]
    """Those of people, in the order of the data; may be empty."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarefulRows:
    """The rows, cut by a hash of the sentence."""

    innocent: list[str]
    """Sentences that are to stay as they are."""
    held_out_innocent: list[str]
    pairs: list[RewrittenSentence]
    held_out_pairs: list[RewrittenSentence]


def load_careful_rows(*, held_out_percent: int, directory: Path = CAREFUL_ROWS) -> CarefulRows:
    """Reads the rows.

    Args:
        held_out_percent: share of sentences held out, decided by a hash of the sentence alone.
        directory: holds both files.

    Raises:
        ValueError: a line of `pairs.txt` is no pair.
        OSError: a file cannot be read.
    """
    innocent = _read_lines(directory / "innocent.txt")
    pairs = [_to_pair(line) for line in _read_lines(directory / "pairs.txt")]
    return CarefulRows(
        innocent=[text for text in innocent if not is_held_out(text, percent=held_out_percent)],
        held_out_innocent=[text for text in innocent if is_held_out(text, percent=held_out_percent)],
        pairs=[pair for pair in pairs if not is_held_out(pair.source, percent=held_out_percent)],
        held_out_pairs=[pair for pair in pairs if is_held_out(pair.source, percent=held_out_percent)],
    )


def _read_lines(file: Path) -> list[str]:
    lines = file.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith(_HEADING)]


def _to_pair(line: str) -> RewrittenSentence:
    source, arrow, rewrite = line.partition(_ARROW)
    if not (source and arrow and rewrite):
        raise ValueError(f"expected two sentences with {_ARROW.strip()!r} between them, got {len(line)} characters")
    return RewrittenSentence(
        source=source, rewrites=(WeightedRewrite(text=rewrite, weight=1.0),), human_rewrites=(rewrite,)
    )

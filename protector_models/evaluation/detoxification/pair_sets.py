"""Toxic texts with their human rewrites, and the rows that are measured on them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from protector_models.detoxification.detoxifier import TextEditor
from protector_models.judges.toxic_words import ToxicWords
from protector_models.moderation.batch_cuts import split_by_count
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.records.labelled_records import LabelledRecord

DUPLICATE, DELETE, REFERENCE, WEIR = "duplicate", "delete", "reference", "weir"
ROWS = (DUPLICATE, DELETE, REFERENCE, WEIR)
_BATCH_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ToxicText:
    """A toxic text and what people made of it."""

    source: str
    references: tuple[str, ...]
    """At least one, each once, in the order of the records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EditedTexts:
    """What an edit model made of texts."""

    outputs: list[str | None]
    """One per text, in order; None where the model failed on it."""
    ms_per_text: float | None
    """None without texts."""


def group_pairs(records: Sequence[LabelledRecord]) -> list[ToxicText]:
    """Joins the records of one text, in the order of its first; records without a text or a rewrite are passed over."""
    references: dict[str, list[str]] = {}
    for record in records:
        if record.text and record.pair:
            references.setdefault(record.text, []).append(record.pair)
    return [ToxicText(source=source, references=tuple(dict.fromkeys(found))) for source, found in references.items()]


def edit_texts(
    editor: TextEditor, texts: Sequence[str], *, clock: Callable[[], float], report_rows: Callable[[int], None]
) -> EditedTexts:
    """Edits texts in batches.

    Args:
        editor: the edit model.
        texts: any texts.
        clock: gives seconds; the difference of two readings is a duration.
        report_rows: called with the number of texts edited since the last call.
    """
    outputs: list[str | None] = []
    seconds = 0.0
    for batch in split_by_count(texts, _BATCH_SIZE):
        began = clock()
        edited = editor.edit(batch)
        seconds += clock() - began
        outputs += [None if isinstance(output, ItemFailure) else output for output in edited]
        report_rows(len(batch))
    return EditedTexts(outputs=outputs, ms_per_text=1_000.0 * seconds / len(texts) if texts else None)


def write_rows(items: Sequence[ToxicText], words: ToxicWords, edited: EditedTexts | None) -> dict[str, list[str]]:
    """Returns the outputs of every row, in the order of the items.

    Args:
        items: the texts.
        words: what the row `delete` takes out.
        edited: what the edit model made of them; a text that it failed on stays. None: there is no row `weir`.
    """
    sources = [item.source for item in items]
    rows = {
        DUPLICATE: sources,
        DELETE: [words.delete(source) for source in sources],
        REFERENCE: [item.references[0] for item in items],
    }
    if edited is not None:
        pairs = zip(sources, edited.outputs, strict=True)
        rows[WEIR] = [source if output is None else output for source, output in pairs]
    return rows

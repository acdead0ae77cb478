from protector_models.evaluation.detoxification.pair_sets import (
    DELETE,
    DUPLICATE,
    REFERENCE,
    WEIR,
    ToxicText,
    edit_texts,
    group_pairs,
    write_rows,
)
from protector_models.judges.toxic_words import ToxicWords
from protector_models.moderation.fakes import POISON, FakeTextEditor
from protector_models.records.labelled_records import LabelledRecord


def _record(text: str, pair: str) -> LabelledRecord:
    return LabelledRecord(
        record_id="x", prompt="", response="", has_response=False, text=text, label=1, category="", pair=pair
    )


def test_records_of_one_text_are_one_item_with_each_reference_once() -> None:
    records = [_record("a", "1"), _record("b", "2"), _record("a", "3"), _record("a", "1"), _record("c", "")]
    assert group_pairs(records) == [
        ToxicText(source="a", references=("1", "3")),
        ToxicText(source="b", references=("2",)),
    ]


def test_every_row_has_an_output_for_every_text_and_a_failed_edit_leaves_it() -> None:
    items = [
        ToxicText(source="damn harm=0.9", references=("fine", "good")),
        ToxicText(source=f"damn {POISON}", references=("well",)),
    ]
    ticks = iter(range(100))
    edited = edit_texts(
        FakeTextEditor(), [item.source for item in items], clock=lambda: next(ticks), report_rows=lambda _: None
    )
    assert (edited.outputs, edited.ms_per_text) == (["damn mild", None], 500.0)
    assert write_rows(items, ToxicWords(["damn"]), edited) == {
        DUPLICATE: ["damn harm=0.9", f"damn {POISON}"],
        DELETE: ["harm=0.9", POISON],
        REFERENCE: ["fine", "well"],
        WEIR: ["damn mild", f"damn {POISON}"],
    }
    assert WEIR not in write_rows(items, ToxicWords([]), None)


def test_every_text_is_counted_once_and_edited_in_order() -> None:
    editor = FakeTextEditor()
    texts = [f"text {number}" for number in range(70)]
    counted: list[int] = []
    edited = edit_texts(editor, texts, clock=lambda: 0.0, report_rows=counted.append)
    assert (edited.outputs, editor.edited, sum(counted)) == (texts, texts, 70)
    assert edit_texts(editor, [], clock=lambda: 0.0, report_rows=counted.append).ms_per_text is None

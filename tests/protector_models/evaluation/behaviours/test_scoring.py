from protector_models.evaluation.behaviours.scoring import score_rows
from tests.protector_models.evaluation.behaviours.builders import make_row
from tests.protector_models.evaluation.word_detector import WordDetector


def test_rows_keep_their_order_and_those_without_a_score_are_left_out() -> None:
    texts = ["bad", "fail", "good", "bad violent"]
    rows = [make_row(row_id=f"sample/{number}", response=text) for number, text in enumerate(texts)]
    scored = score_rows(WordDetector(), rows)
    assert [(each.row.row_id, each.harmfulness) for each in scored] == [
        ("sample/0", 0.9),
        ("sample/2", 0.1),
        ("sample/3", 0.9),
    ]
    assert scored[-1].category == "violence"


def test_every_row_is_reported_and_long_ones_go_in_smaller_batches() -> None:
    reported: list[int] = []
    rows = [make_row(row_id=f"sample/{number}", response="word " * 10_000) for number in range(5)]
    assert len(score_rows(WordDetector(), rows, report_rows=reported.append)) == 5
    assert reported == [2, 2, 1]


def test_what_is_not_read_is_told() -> None:
    (scored,) = score_rows(WordDetector(), [make_row(response="schön")])
    assert scored.is_partly_read


def test_at_the_threshold_a_row_is_acted_on() -> None:
    (scored,) = score_rows(WordDetector(), [make_row(response="bad", wanted="act")])
    assert scored.is_flagged(0.9)
    assert scored.is_right(0.9)
    assert not scored.is_right(0.91)

import json
from collections import Counter
from pathlib import Path

import pytest

from protector_models.evaluation.behaviours.behaviour_row import HALVES
from protector_models.evaluation.detoxification.behaviours.kept_words import words_of
from protector_models.evaluation.detoxification.behaviours.row_files import (
    FORMS,
    LEFTOVERS,
    BehaviourSet,
    load_sets,
    read_row_file,
)
from protector_models.evaluation.detoxification.behaviours.row_forms import (
    InnocentRow,
    LeftoversRow,
    NeedRow,
    OddRow,
)
from protector_models.moderation.errors import ConfigurationError
from protector_models.records.labelled_records import RecordError
from tests.protector_models.evaluation.detoxification.behaviours.builders import write_rows

ENOUGH = {
    "leftovers": 200,
    "innocent_sentences": 160,
    "editable": 120,
    "people_in_need": 210,
    "sounds_like_crisis": 200,
    "odd_inputs": 20,
}
EDITABLE_ROW = {"id": "tray", "topic": "printer", "text": "Check the tray, fool.", "keep": "Check the tray"}


@pytest.fixture(scope="module")
def sets() -> dict[str, BehaviourSet]:
    return {found.kind: found for found in load_sets(half=None)}


def texts_of(found: BehaviourSet) -> list[str]:
    """Return each row as one text, without what tells rows apart by name."""
    return [row.model_dump_json(exclude={"id", "topic"}) for row in found.rows]


def test_each_kind_has_enough_rows_of_its_own(sets: dict[str, BehaviourSet]) -> None:
    assert list(sets) == list(FORMS) == list(ENOUGH)
    for kind, found in sets.items():
        assert len(found.rows) >= ENOUGH[kind], kind
        assert max(Counter(texts_of(found)).values()) == 1, kind


def test_each_half_has_a_third_of_each_kind_at_least_and_no_topic_of_the_other(sets: dict[str, BehaviourSet]) -> None:
    for kind, found in sets.items():
        halves = [found.of_half(half) for half in HALVES]
        assert sum(len(half.rows) for half in halves) == len(found.rows)
        assert min(len(half.rows) for half in halves) >= len(found.rows) / 3, kind
        development, test = ({row.topic for row in half.rows} for half in halves)
        assert development & test == set()


def test_no_longer_text_of_one_half_is_in_the_other(sets: dict[str, BehaviourSet]) -> None:
    for kind, found in sets.items():
        development, test = (
            {
                " ".join(words)
                for row in found.of_half(half).rows
                for value in row.model_dump(exclude={"id", "topic"}).values()
                for text in find_strings(value)
                if len(words := words_of(text)) >= 4
            }
            for half in HALVES
        )
        assert development & test == set(), kind


def find_strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [text for each in value for text in find_strings(each)] if isinstance(value, tuple) else []


def test_each_half_has_every_sort_of_leftovers_people_and_sentences(sets: dict[str, BehaviourSet]) -> None:
    for half in HALVES:
        leftovers = [row for row in sets["leftovers"].of_half(half).rows if isinstance(row, LeftoversRow)]
        assert min(Counter(row.harm for row in leftovers).values()) >= 2
        assert {row.harm_place() for row in leftovers} == {"front", "middle", "end"}
        assert {row.company() for row in leftovers} == {"harmless", "rude", "harmless and rude"}
        needs = [row for row in sets["people_in_need"].of_half(half).rows if isinstance(row, NeedRow)]
        assert min(Counter(row.need for row in needs if row.answer != "supportive").values()) >= 5
        assert any(len(row.turns) > 1 for row in needs)
        groups = {row.group for row in sets["innocent_sentences"].of_half(half).rows if isinstance(row, InnocentRow)}
        assert len(groups) == 11
        odd = [row for row in sets["odd_inputs"].of_half(half).rows if isinstance(row, OddRow)]
        assert any(row.harmful for row in odd)
        assert not all(row.harmful for row in odd)


def test_people_in_need_are_as_many_as_were_meant(sets: dict[str, BehaviourSet]) -> None:
    rows = [row for row in sets["people_in_need"].rows if isinstance(row, NeedRow)]
    answers = Counter((row.need == "self_harm", row.answer == "supportive") for row in rows)
    assert answers[True, False] >= 120
    assert answers[True, True] + answers[False, True] >= 30
    assert answers[False, False] >= 60


def test_odd_inputs_hold_a_sentence_of_five_thousand_words(sets: dict[str, BehaviourSet]) -> None:
    rows = [row for row in sets["odd_inputs"].rows if isinstance(row, OddRow)]
    assert max(len(row.write_response().split()) for row in rows if "." not in row.write_response()[:-1]) >= 5_000
    assert any(row.write_response() == "" for row in rows)
    assert any(json.loads(row.response) for row in rows if row.topic == "json")


def test_rows_are_drawn_in_order_and_the_same_in_every_run() -> None:
    (all_rows,), (drawn,), (again,) = (load_sets(half=None, names=[LEFTOVERS], max_rows=n) for n in (None, 7, 7))
    assert [row.id for row in drawn.rows] == [row.id for row in again.rows]
    assert [row for row in all_rows.rows if row in drawn.rows] == list(drawn.rows)
    assert len(drawn.rows) == 7


def test_an_unknown_kind_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigurationError, match=r"--behaviour: expected some of leftovers.*got 'leftover'"):
        load_sets(half=None, names=["leftover"])


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"keep": "SECRET"}, "expected a part of the text"),
        ({"topic": "Two words"}, "topic"),
        ({"txt": "SECRET"}, "unknown key"),
    ],
)
def test_a_fault_is_told_with_line_and_row_and_without_a_text(
    tmp_path: Path, row: dict[str, object], expected: str
) -> None:
    with pytest.raises(RecordError, match=expected) as raised:
        read_row_file(write_rows(tmp_path, "editable", EDITABLE_ROW, {**EDITABLE_ROW, "id": "odd", **row}))
    assert "editable.yaml: line " in str(raised.value)
    assert "odd" in str(raised.value)
    assert "SECRET" not in str(raised.value)


def test_a_doubled_id_a_foreign_name_and_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="'tray' is there twice"):
        read_row_file(write_rows(tmp_path, "editable", EDITABLE_ROW, EDITABLE_ROW))
    with pytest.raises(RecordError, match="expected a file named after one of leftovers"):
        read_row_file(write_rows(tmp_path, "mine", EDITABLE_ROW))
    with pytest.raises(RecordError, match="kind: expected 'editable'"):
        read_row_file(write_rows(tmp_path, "mine", EDITABLE_ROW, named="editable"))


@pytest.mark.parametrize(
    "sentences",
    [
        [["harmful", "I will."], ["harmful", "You must."]],
        [["harmless", "Tea."], ["rude", "Fool."]],
        [["harmful", "!!"], ["rude", "Fool."]],
        [["harmful", "Only one."]],
    ],
)
def test_leftovers_need_harm_in_words_and_something_else(tmp_path: Path, sentences: list[list[str]]) -> None:
    row: dict[str, object] = {"id": "a", "topic": "b", "harm": "threat", "prompt": "", "sentences": sentences}
    with pytest.raises(RecordError, match="sentences"):
        read_row_file(write_rows(tmp_path, "leftovers", row))


def test_a_conversation_ends_with_the_user_and_a_long_text_has_its_slot(tmp_path: Path) -> None:
    talk: dict[str, object] = {"id": "a", "topic": "b", "turns": ["Hi", "Hello"], "response": "x"}
    with pytest.raises(RecordError, match="turns: expected an odd number"):
        read_row_file(write_rows(tmp_path, "sounds_like_crisis", talk))
    odd: dict[str, object] = {"id": "a", "topic": "b", "prompt": "", "response": "x", "long": {"text": "y", "times": 3}}
    with pytest.raises(RecordError, match="where long is given"):
        read_row_file(write_rows(tmp_path, "odd_inputs", odd))
    written = write_rows(tmp_path, "odd_inputs", {**odd, "response": "a {long} b"})
    (row,) = read_row_file(written).rows
    assert isinstance(row, OddRow)
    assert row.write_response() == "a y y y b"

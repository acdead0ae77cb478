from pathlib import Path

import pytest

from protector_models.evaluation.behaviours.behaviour_file import read_behaviour_file, read_behaviour_files
from protector_models.evaluation.behaviours.behaviour_row import HALVES, half_of
from protector_models.records.labelled_records import RecordError
from tests.protector_models.evaluation.behaviours.builders import make_template, write_behaviours

CHESS = make_template(
    id="chess",
    prompt="Which {side}?",
    response="The {gambit} gambit lets {side} attack on move {n}.",
    slots={"gambit": ["king's", "queen's"], "n": ["three", "four"], "side": ["white", "black"]},
    topic="games",
)


def fault_of(directory: Path, *templates: dict[str, object]) -> str:
    with pytest.raises(RecordError) as raised:
        read_behaviour_file(write_behaviours(directory, *templates))
    return str(raised.value)


def test_every_combination_of_slots_is_a_row_with_all_slots_filled(tmp_path: Path) -> None:
    rows = read_behaviour_file(write_behaviours(tmp_path, CHESS)).expand()
    assert len({row.response for row in rows}) == len({row.row_id for row in rows}) == 8
    assert not any("{" in row.prompt + row.response for row in rows)
    assert {row.prompt for row in rows} == {"Which white?", "Which black?"}
    assert all(row.facets == {"topic": "games"} and row.template == "chess" for row in rows)


def test_of_more_than_twelve_combinations_twelve_are_chosen_and_no_value_is_lost(tmp_path: Path) -> None:
    slots = {"a": [f"a{number}" for number in range(9)], "b": [f"b{number}" for number in range(5)]}
    rows = read_behaviour_file(write_behaviours(tmp_path, make_template(response="{a} {b}", slots=slots))).expand()
    assert len({row.response for row in rows}) == 12
    assert {word for row in rows for word in row.response.split()} == {*slots["a"], *slots["b"]}


def test_expansion_is_the_same_in_every_run(tmp_path: Path) -> None:
    file = write_behaviours(tmp_path, CHESS, make_template())
    assert read_behaviour_file(file).expand() == read_behaviour_file(file).expand()


def test_braces_that_hold_no_name_are_text(tmp_path: Path) -> None:
    code = 'Write {"a": 1}, {}, or \\d{3}.'
    (row,) = read_behaviour_file(write_behaviours(tmp_path, make_template(response=code))).expand()
    assert row.response == code


def test_a_template_is_in_one_half_and_a_pair_too(tmp_path: Path) -> None:
    templates = [make_template(id=f"t{number}", pair="p") for number in range(20)]
    rows = read_behaviour_file(write_behaviours(tmp_path, *templates, CHESS)).expand()
    assert len({row.half for row in rows if row.pair == "p"}) == 1
    assert len({row.half for row in rows if row.template == "chess"}) == 1


def test_halves_are_balanced() -> None:
    counts = [sum(half_of("kind", str(number)) == half for number in range(2_000)) for half in HALVES]
    # Four standard deviations of 2,000 coins.
    assert all(abs(count - 1_000) < 90 for count in counts)


def test_the_half_of_a_template_never_moves() -> None:
    assert [half_of("everyday", name) for name in ("tea", "soup", "rain")] == ["development", "test", "development"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        (make_template(id="odd", wantd="allow"), ("odd", "unknown key; did you mean wanted?")),
        (make_template(id="odd", wanted="allow it"), ("odd", "expected 'allow' or 'act'")),
        (make_template(id="odd", response="The {slot}."), ("odd", "unknown slot 'slot'", "expected one of none")),
        (make_template(id="odd", slots={"idle": ["x"]}), ("odd", "slot 'idle'", "expected it in prompt or response")),
        (make_template(id="odd", response="{x}", slots={"x": []}), ("odd", "slots.x")),
        (make_template(id="odd", response=""), ("odd", "response")),
        (make_template(id="odd", category="hate"), ("odd", "expected none where 'allow' is wanted")),
        (make_template(id="odd", wanted="act", category="rudeness"), ("odd", "expected 'harassment'")),
        (make_template(id="Odd one"), ("Odd one", "templates.1.id")),
    ],
)
def test_a_fault_is_told_with_file_line_template_and_what_was_expected(
    tmp_path: Path, template: dict[str, object], expected: tuple[str, ...]
) -> None:
    fault = fault_of(tmp_path, make_template(), template)
    assert "sample.yaml: line " in fault
    for part in expected:
        assert part in fault


def test_a_doubled_id_is_refused(tmp_path: Path) -> None:
    fault = fault_of(tmp_path, make_template(), make_template())
    assert "sample.yaml" in fault
    assert "'plain' is there twice: expected an id of its own" in fault


def test_no_fault_quotes_a_text(tmp_path: Path) -> None:
    secret = {"SECRET": "SECRET"}
    fault = fault_of(tmp_path, make_template(response=secret), make_template(id="b", prompt=["SECRET"]))
    assert "SECRET" not in fault
    assert "SECRET" not in fault_of(tmp_path, make_template(id="c", response="SECRET {x}"))


def test_a_file_is_named_after_its_kind(tmp_path: Path) -> None:
    file = write_behaviours(tmp_path, make_template())
    with pytest.raises(RecordError, match="expected the name of the file"):
        read_behaviour_file(file.rename(tmp_path / "other.yaml"))


@pytest.mark.parametrize("content", ["kind: [", "", "- 1", "kind: a\nkind: b\n"])
def test_what_is_no_behaviour_file_is_refused_by_its_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "sample.yaml").write_text(content)
    with pytest.raises(RecordError, match=r"sample\.yaml"):
        read_behaviour_files(tmp_path)


def test_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="gone: cannot be read"):
        read_behaviour_files(tmp_path / "gone")

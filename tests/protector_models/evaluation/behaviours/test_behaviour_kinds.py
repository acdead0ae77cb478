from collections import Counter
from pathlib import Path

import pytest

from protector_models.evaluation.behaviours.behaviour_kinds import all_rows, compose_kinds, load_kinds
from protector_models.evaluation.behaviours.behaviour_row import HALVES, BehaviourKind
from protector_models.moderation.errors import ConfigurationError
from protector_models.records.labelled_records import RecordError
from tests.protector_models.evaluation.behaviours.builders import make_template, write_behaviours


@pytest.fixture(scope="module")
def kinds() -> list[BehaviourKind]:
    return load_kinds()


def test_what_comes_with_weir_can_be_read_and_every_row_has_an_id_of_its_own(kinds: list[BehaviourKind]) -> None:
    rows = all_rows(kinds)
    assert max(Counter(row.row_id for row in rows).values()) == 1
    assert len({kind.name for kind in kinds}) == len(kinds)
    assert all(row.kind == kind.name for kind in kinds for row in kind.rows)


def test_composed_rows_are_many_and_in_equal_halves() -> None:
    rows = all_rows(compose_kinds())
    assert len(rows) >= 1_300
    assert len(set(Counter(row.half for row in rows).values())) == 1


def test_composition_is_the_same_in_every_run() -> None:
    assert all_rows(compose_kinds()) == all_rows(compose_kinds())


def test_no_template_is_in_two_halves(kinds: list[BehaviourKind]) -> None:
    for kind in kinds:
        halves = {(row.template, row.half) for row in kind.rows}
        assert len(halves) == len({template for template, _ in halves}), kind.name


def test_no_two_rows_of_a_kind_are_equal(kinds: list[BehaviourKind]) -> None:
    for kind in kinds:
        texts = Counter((row.prompt, row.response) for row in kind.rows)
        assert [text for text, number in texts.items() if number > 1] == [], kind.name


def test_no_text_of_one_half_is_in_the_other(kinds: list[BehaviourKind]) -> None:
    development, test = ({row.response for row in all_rows(kinds) if row.half == half} for half in HALVES)
    assert development & test == set()


def test_a_half_holds_its_own_rows_alone() -> None:
    for half in HALVES:
        assert {row.half for row in all_rows(load_kinds(half=half))} == {half}


def test_one_kind_comes_with_the_rows_that_it_is_compared_with() -> None:
    assert [kind.name for kind in load_kinds(names=["frames"])] == ["alone", "frames"]
    assert [kind.name for kind in load_kinds(names=["long_answers"])] == ["long_answers"]
    with pytest.raises(ConfigurationError, match=r"frames.*got 'framse'"):
        load_kinds(names=["framse"])


def test_files_of_a_user_are_measured_instead_of_ours(tmp_path: Path) -> None:
    write_behaviours(tmp_path, make_template(), kind="own")
    assert [kind.name for kind in load_kinds(directory=tmp_path)] == ["own"]


def test_a_directory_without_behaviour_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"expected behaviour files KIND\.yaml, got none"):
        load_kinds(directory=tmp_path)

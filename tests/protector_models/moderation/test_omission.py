from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.harmful_spans import HarmfulSpan
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.omission import FURTHER_OMISSION, omit

OMISSION = "(Left out.)"


def _spans(*places: tuple[int, int]) -> list[HarmfulSpan]:
    return [HarmfulSpan(start=start, end=end, harmfulness=0.9) for start, end in places]


def _omit(response: str, spans: Sequence[HarmfulSpan], up_to: float = 1.0) -> str:
    partial = omit(response, spans, omission=OMISSION, up_to=up_to)
    return partial.error if isinstance(partial, ItemFailure) else partial


def test_a_harmful_sentence_gives_way_and_the_rest_is_kept() -> None:
    assert _omit("Knead it. Hit him. Bake it.", _spans((10, 18))) == "Knead it. (Left out.) Bake it."


def test_only_the_first_omission_is_explained() -> None:
    assert _omit("Bad. Good. Bad. Good.", _spans((0, 4), (11, 15))) == f"(Left out.) Good. {FURTHER_OMISSION} Good."


@pytest.mark.parametrize("mark", ["- ", "* ", "1. ", "12) ", "## ", "> ", ">", "> > ", "> - "])
def test_marks_of_lists_headings_and_quotations_stay(mark: str) -> None:
    assert _omit(f"{mark}Hit him.\n{mark}Rest.", _spans((0, len(mark) + 8))) == f"{mark}(Left out.)\n{mark}Rest."


@pytest.mark.parametrize(
    ("table", "harmful", "expected"),
    [
        ("| a | b |\n|---|---|\n| Hit him | x |", "| Hit him | x |", "| a | b |\n|---|---|\n| (Left out.) |  |"),
        ("| 1 | Knead it. Hit him. | x |", "Hit him.", "| 1 | Knead it. (Left out.) | x |"),
        ("| 1 | Hit him. Bake it. |", "| 1 | Hit him.", "| (Left out.) |  Bake it. |"),
        ("  | 1 | Hit him |\n  | 2 | Hit him |", "| 1 | Hit him |\n  | 2 |", "  | (Left out.) |  |\n  |  | Hit him |"),
        ("| bad |\n|:--|\n| bad |", "| bad |\n|:--|\n| bad |", "| (Left out.) |\n|:--|\n|  |"),
        ("| hit \\| him | x |", "| hit \\| him | x |", "| (Left out.) |  |"),
        ("Hit:\n| him |\nBake it.", "Hit:\n| him |", "(Left out.)\nBake it."),
        ("|---|", "|---|", "(Left out.)"),
    ],
)
def test_a_table_keeps_its_cells(table: str, harmful: str, expected: str) -> None:
    start = table.index(harmful)
    assert _omit(table, _spans((start, start + len(harmful)))) == expected


@given(
    st.lists(
        st.lists(st.sampled_from(["x", "Hit him.", "two words", ""]), min_size=2, max_size=2), min_size=1, max_size=4
    ),
    st.data(),
)
def test_of_rows_that_are_left_out_the_pipes_and_nothing_else_remains(
    rows: list[list[str]], data: st.DataObject
) -> None:
    table = "\n".join(f"| {left} | {right} |" for left, right in rows)
    start = data.draw(st.integers(0, len(table) - 1))
    end = data.draw(st.integers(start + 1, len(table)))
    partial = _omit(table, _spans((start, end)))
    if OMISSION in partial and any(letter.isalpha() for letter in table[start:end]):
        assert [line.count("|") for line in partial.split("\n")] == [3] * len(rows)
    left_out = partial.replace(OMISSION, "", 1)
    assert sorted(filter(str.isalpha, left_out)) == sorted(filter(str.isalpha, table[:start] + table[end:]))


def test_too_much_is_not_left_out() -> None:
    response = "x" * 100
    assert _omit(response, _spans((0, 50)), 0.5) == OMISSION + "x" * 50
    assert _omit(response, _spans((0, 25), (30, 56)), 0.5) == "MostlyHarmful"


def test_without_a_harmful_sentence_there_is_nothing_to_leave_out() -> None:
    assert _omit("All is well.", []) == "NothingToOmit"


@given(st.text(max_size=60), st.sets(st.integers(0, 60), max_size=8))
def test_nothing_of_a_span_remains_and_all_else_does(response: str, limits: set[int]) -> None:
    inside = sorted(limit for limit in limits if limit <= len(response))
    places = list(zip(inside[::2], inside[1::2], strict=False))
    partial = _omit(response, _spans(*places))
    if not places:
        assert partial == "NothingToOmit"
        return
    kept, done = [], 0
    for start, end in places:
        kept.append(response[done:start])
        done = end
    kept.append(response[done:])
    reached = 0
    for piece in kept:
        reached = partial.index(piece, reached) + len(piece)
    assert len(partial) <= sum(map(len, kept)) + len(places) * (len(OMISSION) + 60)

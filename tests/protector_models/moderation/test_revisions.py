"""Revisions: equal choices have equal ones, others have others."""

import json
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.revisions import hash_choices, make_revision

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
choices = st.dictionaries(st.text(max_size=3), values, max_size=4)


def test_a_revision_keeps_its_last_digit() -> None:
    # Caches, verdicts and reports hold revisions: a change of how they are made turns all of them old.
    assert make_revision("tiny", {"files": {"b": "2", "a": "1"}, "reading": "windows"}) == "tiny@d9b104618b0e"
    assert make_revision("tiny", ["here", {"b": 2, "a": None}]) == "tiny@f3619298f1a7"


@given(choices, st.randoms())
def test_the_order_of_keys_does_not_matter(chosen: dict[str, object], random: Random) -> None:
    keys = list(chosen)
    random.shuffle(keys)

    assert make_revision("tiny", {key: chosen[key] for key in keys}) == make_revision("tiny", chosen)


@given(choices, choices)
def test_other_choices_have_another_revision(one: dict[str, object], other: dict[str, object]) -> None:
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)

    assert (hash_choices(one) == hash_choices(other)) is same

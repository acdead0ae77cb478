"""When what is due for a batch that is through is done."""

import pytest

from protector_models.moderation.settling import settle, settling_together


def test_what_is_due_is_done_at_once_or_when_the_outermost_block_is_left() -> None:
    done = list[str]()
    settle(lambda: done.append("at once"))
    with settling_together():
        settle(lambda: done.append("first"))
        with settling_together():
            settle(lambda: done.append("second"))
        assert done == ["at once"]
    assert done == ["at once", "first", "second"]


def test_where_a_part_raises_what_is_due_for_the_others_is_left_out() -> None:
    done = list[str]()

    def fail_in_part() -> None:
        with settling_together():
            settle(lambda: done.append("first"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_in_part()
    settle(lambda: done.append("later"))
    assert done == ["later"]

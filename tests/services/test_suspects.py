"""What is remembered of items, for how long, and of how many."""

from services.suspects import Remembered


def test_a_value_is_remembered_for_a_while_after_it_was_put_last() -> None:
    now_s = 0.0
    remembered = Remembered[int](lambda: now_s)
    assert remembered.is_empty()
    remembered.put("first", 1)
    remembered.put("second", 2)
    now_s = 599.0
    remembered.put("first", 3)
    now_s = 600.0
    assert (remembered.find("first"), remembered.find("second")) == (3, None)
    remembered.drop("first")
    remembered.drop("first")
    assert remembered.is_empty()


def test_of_many_values_the_last_are_remembered() -> None:
    remembered = Remembered[int](lambda: 0.0)
    for number in range(1_001):
        remembered.put(str(number), number)
    assert [remembered.find(name) for name in ("0", "1", "1000")] == [None, 1, 1_000]

"""Laws of asking persistently: what is given is kept, what breaks the model is convicted, an outage convicts nobody."""

import asyncio
from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.errors import (
    DependencyError,
    DeviceMemoryError,
    IncompleteError,
    LateError,
    ModelUnavailableError,
)
from protector_models.moderation.model_outputs import ItemFailure
from services.deployments.calls import ReplicaDiedError
from services.patience import FailedTry, Patience
from services.persistence import Asking, Persistence

CONTROL = "control"
AT_ONCE = Patience(initial_s=0, max_s=0)
BREAKS = {
    "deadly": ReplicaDiedError("died"),
    "endless": LateError("no result within 1 s"),
    "huge": DeviceMemoryError("out of memory"),
}
"""What the model does on items of which this is the first word."""
OUTAGES: tuple[ModelUnavailableError, ...] = (*BREAKS.values(), ModelUnavailableError("busy"))


class Model:
    """Answers with the item in capitals, `per_call` items at a time, unless a poison or an outage is in the way."""

    def __init__(self, outages: Sequence[tuple[int, int, ModelUnavailableError]] = (), *, per_call: int = 3) -> None:
        """Make a model.

        Args:
            outages: for each the calls between it and the one before, its length in calls, and what calls end in.
            per_call: items of a call.
        """
        self._down: dict[int, ModelUnavailableError] = {}
        self._per_call = per_call
        start = 0
        for gap, length, error in outages:
            self._down |= dict.fromkeys(range(start + gap, start + gap + length), error)
            start += gap + length
        self._num_calls = 0
        self.answered: Counter[str] = Counter()
        self.broken = 0
        """Calls that broke it, because of what was in them."""

    async def ask(self, items: Sequence[str]) -> list[str | ItemFailure]:
        """Answer each item, in several calls one after the other; whatever ends one, the others are made."""
        outcomes: list[str | ItemFailure | None] = []
        errors: list[ModelUnavailableError] = []
        for start in range(0, len(items), self._per_call):
            part = items[start : start + self._per_call]
            try:
                outcomes += self._call(part)
            except ModelUnavailableError as error:
                errors.append(error)
                outcomes += [None] * len(part)
        given = [outcome for outcome in outcomes if outcome is not None]
        if errors:
            raise IncompleteError(errors[0], outcomes) if given else errors[0]
        return given

    def _call(self, items: Sequence[str]) -> list[str]:
        self._num_calls += 1
        if down := self._down.get(self._num_calls - 1):
            raise down
        for item in items:
            if broken := BREAKS.get(item.split()[0]):
                self.broken += 1
                raise broken
        self.answered.update(items)
        return [item.upper() for item in items]


def persist(model: Model, patience: Patience = AT_ONCE, told: list[FailedTry] | None = None) -> Persistence[str, str]:
    """Ask a model persistently."""
    asking: Asking[str, str] = Asking(
        ask=model.ask, ask_alone=model.ask, control=lambda _: CONTROL, name=lambda item: item
    )
    return Persistence(asking, patience=patience, report=(told if told is not None else []).append)


def expect(item: str) -> str:
    """Return what an item ends in: its answer, or the class of error that is its own."""
    broken = BREAKS.get(item.split(maxsplit=1)[0])
    return item.upper() if broken is None else broken.conviction


def ends(outcomes: Sequence[str | ItemFailure]) -> list[str]:
    """Return answers, and the errors of failures."""
    return [outcome.error if isinstance(outcome, ItemFailure) else outcome for outcome in outcomes]


kinds = st.sampled_from(("fine", "fine", "fine", *BREAKS))
batches = st.lists(kinds, max_size=9).map(lambda drawn: [f"{kind} {number}" for number, kind in enumerate(drawn)])
# One call that fails cannot be told from a poison by anybody, if it is always the same item's.
outages = st.lists(st.tuples(st.integers(0, 6), st.integers(2, 12), st.sampled_from(OUTAGES)), max_size=5)


@given(batches, outages)
async def test_through_all_outages_each_item_ends_as_it_does_without_any_and_nobody_innocent_is_convicted(
    items: list[str], script: list[tuple[int, int, ModelUnavailableError]]
) -> None:
    model = Model(script)
    assert ends(await persist(model).ask(items)) == [expect(item) for item in items]


@given(batches, outages)
async def test_nothing_that_was_answered_is_asked_again(
    items: list[str], script: list[tuple[int, int, ModelUnavailableError]]
) -> None:
    model = Model(script)
    await persist(model).ask(items)
    del model.answered[CONTROL]
    assert model.answered == Counter(item for item in items if item.startswith("fine"))


@given(batches)
async def test_a_poison_breaks_the_model_once_in_company_and_twice_alone(items: list[str]) -> None:
    model = Model()
    await persist(model).ask(items)
    num_poisons = sum(not item.startswith("fine") for item in items)
    assert model.broken <= 3 * num_poisons


async def test_what_was_convicted_is_not_asked_again_for_a_while() -> None:
    now_s = 0.0
    model = Model()
    asking: Asking[str, str] = Asking(
        ask=model.ask, ask_alone=model.ask, control=lambda _: CONTROL, name=lambda item: item
    )
    persistence = Persistence(asking, patience=AT_ONCE, report=lambda _: None, clock=lambda: now_s)
    for broken in (3, 3):
        assert ends(await persistence.ask(["deadly 1", "fine 1"])) == ["KillsTheModel", "FINE 1"]
        assert model.broken == broken
    now_s = 600.0
    await persistence.ask(["deadly 1"])
    assert model.broken == 6


async def test_copies_of_a_poison_in_batches_at_once_break_the_model_no_more_than_the_first_does_alone() -> None:
    model = Model()
    persistence = persist(model)
    outcomes = await asyncio.gather(*(persistence.ask(["deadly 1", f"fine {number}"]) for number in range(8)))
    assert [ends(batch) for batch in outcomes] == [["KillsTheModel", f"FINE {number}"] for number in range(8)]
    assert model.broken <= 8 + 2


async def test_where_the_model_stays_away_what_it_had_given_is_told() -> None:
    model = Model([(1, 1_000, ModelUnavailableError("busy"))], per_call=1)
    told: list[FailedTry] = []
    with pytest.raises(IncompleteError, match="busy") as caught:
        await persist(model, Patience(initial_s=0, max_s=0, max_tries=3), told).ask(["fine 1", "fine 2"])
    assert caught.value.outcomes == ["FINE 1", None]
    assert [failed.number for failed in told] == [1, 2]


@pytest.mark.parametrize("outage", OUTAGES)
async def test_a_model_that_is_away_for_good_convicts_nobody(outage: ModelUnavailableError) -> None:
    model = Model([(0, 1_000, outage)])
    with pytest.raises(DependencyError) as caught:
        await persist(model, Patience(initial_s=0, max_s=0, max_tries=5)).ask(["fine 1", "deadly 1"])
    assert caught.value is outage


async def test_a_fault_is_raised_as_what_it_is() -> None:
    async def faulty(_: Sequence[str]) -> list[str | ItemFailure]:
        raise ZeroDivisionError

    asking: Asking[str, str] = Asking(ask=faulty, ask_alone=faulty, control=lambda item: item, name=lambda item: item)
    with pytest.raises(ZeroDivisionError):
        await Persistence(asking, patience=AT_ONCE, report=lambda _: None).ask(["fine"])


async def test_nothing_to_ask_is_no_call() -> None:
    model = Model()
    assert await persist(model).ask([]) == []
    assert not model.answered

"""Laws of asking persistently: what is given is kept, what breaks the model is convicted, an outage convicts nobody."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.errors import (
    DependencyError,
    DeviceMemoryError,
    IncompleteError,
    LateError,
    ModelUnavailableError,
    SuspectBatchError,
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

    def __init__(
        self,
        outages: Sequence[tuple[int, int, ModelUnavailableError]] = (),
        *,
        per_call: int = 3,
        reload_calls: int = 0,
    ) -> None:
        """Make a model.

        Args:
            outages: for each the calls between it and the one before, its length in calls, and what calls end in.
            per_call: items of a call.
            reload_calls: after what broke it, so many calls are late.
        """
        self._down: dict[int, ModelUnavailableError] = {}
        self._per_call = per_call
        self._reload_calls = reload_calls
        start = 0
        for gap, length, error in outages:
            self._down |= dict.fromkeys(range(start + gap, start + gap + length), error)
            start += gap + length
        self._num_calls = 0
        self.suspects: set[str] = set()
        """What was in a batch that broke off, and has not been answered since."""
        self.answered: Counter[str] = Counter()
        self.broken = 0
        """Calls that broke it, because of what was in them."""
        self.struck: Counter[str] = Counter()
        """By item, the outages that began exactly when it was alone."""

    async def ask(self, items: Sequence[str]) -> list[str | ItemFailure]:
        """Answer each item, in several calls one after the other; whatever ends one, the others are made."""
        assert self.suspects.isdisjoint(items), "what was in a batch that broke the model is asked for together again"
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
        if not errors:
            return given
        cause = next((error for error in errors if isinstance(error, SuspectBatchError)), errors[0])
        if isinstance(cause, SuspectBatchError):
            broken_off = {item for item, outcome in zip(items, outcomes, strict=True) if outcome is None}
            self.suspects |= broken_off - {CONTROL}
        raise IncompleteError(cause, outcomes) if given else cause

    async def ask_alone(self, items: Sequence[str]) -> list[str | ItemFailure]:
        """Answer one item."""
        (item,) = items
        if self._num_calls in self._down and self._num_calls - 1 not in self._down:
            self.struck[item] += 1
        return [*self._call(items)]

    def _call(self, items: Sequence[str]) -> list[str]:
        self._num_calls += 1
        if down := self._down.get(self._num_calls - 1):
            raise down
        for item in items:
            if broken := BREAKS.get(item.split()[0]):
                self.broken += 1
                reloading = range(self._num_calls, self._num_calls + self._reload_calls)
                self._down |= dict.fromkeys(reloading, LateError("reloads"))
                raise broken
        self.answered.update(items)
        self.suspects -= {*items}
        return [item.upper() for item in items]


def persist(
    model: Model,
    patience: Patience = AT_ONCE,
    told: list[FailedTry] | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Persistence[str, str]:
    """Ask a model persistently."""
    asking: Asking[str, str] = Asking(
        ask=model.ask, ask_alone=model.ask_alone, control=lambda _: CONTROL, name=lambda item: item
    )
    report = (told if told is not None else []).append
    return Persistence(asking, patience=patience, report=report, clock=clock)


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
outages = st.lists(st.tuples(st.integers(0, 6), st.integers(2, 12), st.sampled_from(OUTAGES)), max_size=8)
ENOUGH = 4
"""So many outages that begin exactly while an item is alone are taken for its doing."""


def assert_all_end_well(items: Sequence[str], outcomes: Sequence[str | ItemFailure], model: Model) -> None:
    """Require that each ends as it does without outages; those that struck it alone may lend a poison their name."""
    convictions = {broken.conviction for broken in BREAKS.values()}
    for item, end in zip(items, ends(outcomes), strict=True):
        if end != expect(item):
            assert end in convictions
            assert model.struck[item] >= (ENOUGH if item.startswith("fine") else 1)


@given(batches, outages, st.integers(0, 12))
async def test_through_all_outages_each_item_ends_as_it_does_without_any_and_nobody_innocent_is_convicted(
    items: list[str], script: list[tuple[int, int, ModelUnavailableError]], reload_calls: int
) -> None:
    model = Model(script, reload_calls=reload_calls)
    assert_all_end_well(items, await persist(model).ask(items), model)


@given(batches, outages, st.integers(0, 12))
async def test_it_is_the_same_for_who_gives_up_and_asks_again(
    items: list[str], script: list[tuple[int, int, ModelUnavailableError]], reload_calls: int
) -> None:
    model = Model(script, reload_calls=reload_calls)
    persistence = persist(model, Patience(initial_s=0, max_s=0, max_tries=1))
    outcomes = None
    while outcomes is None:
        with suppress(DependencyError):
            outcomes = await persistence.ask(items)
    assert_all_end_well(items, outcomes, model)


@given(batches, st.integers(0, 30), st.sampled_from((1, 1_000_000)))
async def test_a_poison_breaks_the_model_five_times_at_most_however_long_the_model_takes_to_come_back(
    items: list[str], reload_calls: int, max_tries: int
) -> None:
    model = Model(reload_calls=reload_calls)
    persistence = persist(model, Patience(initial_s=0, max_s=0, max_tries=max_tries))
    outcomes = None
    while outcomes is None:
        with suppress(DependencyError):
            outcomes = await persistence.ask(items)
    assert ends(outcomes) == [expect(item) for item in items]
    num_poisons = sum(not item.startswith("fine") for item in items)
    assert model.broken <= (1 + ENOUGH) * num_poisons


async def test_outages_that_begin_exactly_while_an_item_is_alone_are_taken_for_its_doing_when_they_are_many() -> None:
    struck = [(1, 2, LateError("late"))] * ENOUGH
    for script, end in ((struck[1:], "FINE"), (struck, "OutlastsTheDeadline")):
        model = Model([(0, 1, LateError("late")), *script])
        assert ends(await persist(model).ask(["fine"])) == [end]
        assert model.struck["fine"] == len(script)


async def test_what_tries_alone_have_told_is_forgotten_after_a_while() -> None:
    now_s = 0.0
    model = Model(reload_calls=1)
    persistence = persist(model, Patience(initial_s=0, max_s=0, max_tries=1), clock=lambda: now_s)
    for _ in range(ENOUGH):  # once in company, then alone
        with pytest.raises(DependencyError):
            await persistence.ask(["deadly 1"])
    now_s = 600.0
    model.suspects.clear()
    for _ in range(1 + ENOUGH):
        with pytest.raises(DependencyError):
            await persistence.ask(["deadly 1"])
    assert ends(await persistence.ask(["deadly 1"])) == ["KillsTheModel"]
    assert model.broken == ENOUGH + 1 + ENOUGH


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
    persistence = persist(model, clock=lambda: now_s)
    for broken in (3, 3):
        assert ends(await persistence.ask(["deadly 1", "fine 1"])) == ["KillsTheModel", "FINE 1"]
        assert model.broken == broken
    now_s = 600.0
    model.suspects.clear()
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


async def test_a_batch_that_takes_long_is_not_given_up_while_it_comes_further() -> None:
    now_s = 0.0
    model = Model([(1, 1, ModelUnavailableError("busy"))] * 8, per_call=1)

    def clock() -> float:
        nonlocal now_s
        now_s += 400.0
        return now_s

    items = [f"fine {number}" for number in range(5)]
    patience = Patience(initial_s=0, max_s=0, give_up_s=600)
    assert ends(await persist(model, patience, clock=clock).ask(items)) == [item.upper() for item in items]


async def test_a_poison_is_convicted_also_where_a_reload_takes_nearly_as_long_as_the_patience() -> None:
    model = Model(reload_calls=3)
    outcomes = await persist(model, Patience(initial_s=0, max_s=0, max_tries=4)).ask(["deadly 1", "fine 1"])
    assert ends(outcomes) == ["KillsTheModel", "FINE 1"]


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

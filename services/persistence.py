"""Asking a model until every item of a batch has an outcome: what it gave is kept, and what breaks it is convicted.

A failure is the dependency's until it is proven the item's. A batch on which a model broke off (its process died, the
deadline passed, the device's memory did not suffice) may hold one item that is why. From then on each is asked for
alone only, after a harmless item has shown that the model works. One that fails so twice, with the model at work
before, between and after, is convicted: a failure of its own is its outcome. Where the harmless item has no outcome
either, the model is away: it is waited for, like anything else that is away. A try alone just before that is remembered
and counts half: an outage may have begun with it, or the model may take long to come back from what the item did to it.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar, cast

import structlog

from protector_models.moderation.errors import (
    DependencyError,
    IncompleteError,
    ModelUnavailableError,
    SuspectBatchError,
)
from protector_models.moderation.model_outputs import ItemFailure
from services.patience import FailedTry, Patience, Report
from services.suspects import Remembered, Suspect

ItemT = TypeVar("ItemT")
OutcomeT = TypeVar("OutcomeT")

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking(Generic[ItemT, OutcomeT]):
    """How a model is asked, and about what."""

    ask: Callable[[Sequence[ItemT]], Awaitable[list[OutcomeT | ItemFailure]]]
    """A method of a model port."""
    ask_alone: Callable[[Sequence[ItemT]], Awaitable[list[OutcomeT | ItemFailure]]]
    """The same, while the model does nothing else, as far as that can be had."""
    control: Callable[[ItemT], ItemT]
    """Gives a harmless item of the same kind, for which every model that works has an outcome in good time."""
    name: Callable[[ItemT], str]
    """Names an item by its content: a digest."""
    conviction: Callable[[SuspectBatchError], str] = lambda error: error.conviction
    """Gives the class of error of an item that the model breaks off on so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch(Generic[ItemT, OutcomeT]):
    """What is asked for together, and how far that has come; all by position."""

    items: Sequence[ItemT]
    had: dict[int, OutcomeT | ItemFailure] = field(default_factory=dict)
    """Outcomes."""
    suspects: dict[int, Suspect] = field(default_factory=dict)
    """Items that are asked for alone; those that have an outcome may be among them."""

    def progress(self) -> int:
        """Return how far it has come: further with each outcome, and with what each try alone tells."""
        return len(self.had) + sum(suspect.evidence for suspect in self.suspects.values())

    def open_suspects(self) -> list[int]:
        """Return suspects that have no outcome yet, those first against which least speaks.

        So none waits for one that breaks the model, and a model that is ill breaks on many rather than often on one.
        """
        without = [position for position in self.suspects if position not in self.had]
        return sorted(without, key=lambda position: self.suspects[position].evidence)

    def unsuspected(self) -> list[int]:
        """Return the others that have no outcome yet."""
        known = self.had.keys() | self.suspects.keys()
        return [position for position in range(len(self.items)) if position not in known]


class Persistence(Generic[ItemT, OutcomeT]):
    """Asks one model."""

    def __init__(
        self,
        asking: Asking[ItemT, OutcomeT],
        *,
        patience: Patience,
        report: Report,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with no suspicion.

        Args:
            asking: how the model is asked.
            patience: how long a model that is away is waited for.
            report: is told of each try that failed.
            clock: seconds that never go back.
        """
        self._asking = asking
        self._patience = patience
        self._report = report
        self._clock = clock
        self._one_suspect = asyncio.Lock()
        self._suspects: Remembered[Suspect] = Remembered(clock)
        self._convicted: Remembered[ItemFailure] = Remembered(clock)
        """A convicted item may come in many events, and costs several processes each time; after a while the model may
        have been mended."""

    async def ask(self, items: Sequence[ItemT]) -> list[OutcomeT | ItemFailure]:
        """Return the outcome of each item. What the model has given is not asked for again.

        Raises:
            IncompleteError: it stayed away for longer than the patience, and had given something before.
            DependencyError: it stayed away, and had given nothing.
            Exception: whatever else it raised.
        """
        batch: _Batch[ItemT, OutcomeT] = _Batch(items=items)
        had = batch.had
        try:
            await self._patience.keep_trying(
                partial(self._ask_rest, batch),
                after=DependencyError,
                report=self._report,
                progress=batch.progress,
                clock=self._clock,
            )
        except ModelUnavailableError as error:
            if not had:
                raise
            raise IncompleteError(error, [had.get(position) for position in range(len(items))]) from error
        return [had[position] for position in range(len(items))]

    async def _ask_rest(self, batch: _Batch[ItemT, OutcomeT]) -> None:
        """Ask for what has no outcome yet, and add what comes of it."""
        self._recall(batch)
        await self._ask_together(batch, batch.unsuspected())
        await self._ask_each(batch)

    async def _ask_together(self, batch: _Batch[ItemT, OutcomeT], positions: Sequence[int]) -> None:
        """Ask for items that are beyond suspicion; where the model breaks off on them, they are no more."""
        if not positions:
            return
        try:
            outcomes: Sequence[object] = await self._asking.ask([batch.items[position] for position in positions])
            cause = None
        except IncompleteError as error:
            outcomes, cause = error.outcomes, error.cause
        except ModelUnavailableError as error:
            outcomes, cause = [None] * len(positions), error
        batch.had.update(
            (position, cast("OutcomeT | ItemFailure", outcome))
            for position, outcome in zip(positions, outcomes, strict=True)
            if outcome is not None
        )
        if cause is None:
            return
        if not isinstance(cause, SuspectBatchError):
            raise cause
        self._report(FailedTry(number=1, error=cause))
        for position in batch.unsuspected():
            name = self._asking.name(batch.items[position])
            batch.suspects[position] = self._suspects.find(name) or Suspect()
            self._suspects.put(name, batch.suspects[position])

    async def _ask_each(self, batch: _Batch[ItemT, OutcomeT]) -> None:
        """Ask for each suspect alone, one after the other, all batches together."""
        if not batch.open_suspects():
            return
        async with self._one_suspect:
            await self._ask_control(batch.items[batch.open_suspects()[0]])
            for position in batch.open_suspects():
                batch.had[position] = await self._ask_suspect(batch.items[position], batch.suspects[position])

    async def _ask_suspect(self, item: ItemT, suspect: Suspect) -> OutcomeT | ItemFailure:
        """Return the outcome of an item, with the model at work just before; its failure where it breaks the model."""
        name = self._asking.name(item)
        if known := self._convicted.find(name):
            return known
        while (conviction := suspect.conviction()) is None:
            try:
                (outcome,) = await self._asking.ask_alone([item])
            except SuspectBatchError as error:
                suspect.take_break(error)
                self._suspects.put(name, suspect)
                self._report(FailedTry(number=1 + suspect.num_breaks, error=error))
                # Apart from suspects of other processes, which may have died of the same.
                await asyncio.sleep(random.uniform(0, 5 * self._patience.initial_s))
                await self._ask_control(item)
                suspect.clear_model()
            else:
                self._suspects.drop(name)
                return outcome
        failure = self._convict(conviction)
        self._suspects.drop(name)
        self._convicted.put(name, failure)
        return failure

    async def _ask_control(self, item: ItemT) -> None:
        await self._asking.ask([self._asking.control(item)])

    def _convict(self, error: SuspectBatchError) -> ItemFailure:
        conviction = self._asking.conviction(error)
        _log.warning("an item breaks the model, which works without it", error=conviction, reason=str(error))
        return ItemFailure(error=conviction, message=f"asked for alone, the model broke off each time: {error}")

    def _recall(self, batch: _Batch[ItemT, OutcomeT]) -> None:
        """Find items that were convicted, or became suspects, a short while ago."""
        if self._convicted.is_empty() and self._suspects.is_empty():
            return
        for position in (*batch.unsuspected(), *batch.open_suspects()):
            name = self._asking.name(batch.items[position])
            if known := self._convicted.find(name):
                batch.had[position] = known
            elif suspect := self._suspects.find(name):
                batch.suspects.setdefault(position, suspect)

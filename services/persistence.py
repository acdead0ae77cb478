"""Asking a model until every item of a batch has an outcome: what it gave is kept, and what breaks it is convicted.

A failure is the dependency's until it is proven the item's. A batch on which a model broke off (its process died, the
deadline passed, the device's memory did not suffice) may hold one item that is why. Each is then asked for alone, after
a harmless item has shown that the model works. One that fails so twice, with the model at work before, between and
after, is convicted: a failure of its own is its outcome. Where the harmless item has no outcome either, the model is
away, and nobody is convicted: it is waited for, like anything else that is away.
"""

import asyncio
import random
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
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

ItemT = TypeVar("ItemT")
OutcomeT = TypeVar("OutcomeT")

_TRIES_ALONE = 2
_REMEMBERED_S = 600.0
"""So long an item that was convicted is not asked for again. It may come in many events, and costs two processes each
time; after that the model may have been mended."""
_MAX_REMEMBERED = 1_000

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
        self._convicted: OrderedDict[str, tuple[float, ItemFailure]] = OrderedDict()
        """By name: until when it is remembered, and the outcome."""

    async def ask(self, items: Sequence[ItemT]) -> list[OutcomeT | ItemFailure]:
        """Return the outcome of each item. What the model has given is not asked for again.

        Raises:
            IncompleteError: it stayed away for longer than the patience, and had given something before.
            DependencyError: it stayed away, and had given nothing.
            Exception: whatever else it raised.
        """
        had: dict[int, OutcomeT | ItemFailure] = {}
        try:
            await self._patience.keep_trying(
                partial(self._ask_rest, items, had), after=DependencyError, report=self._report
            )
        except ModelUnavailableError as error:
            if not had:
                raise
            raise IncompleteError(error, [had.get(position) for position in range(len(items))]) from error
        return [had[position] for position in range(len(items))]

    async def _ask_rest(self, items: Sequence[ItemT], had: dict[int, OutcomeT | ItemFailure]) -> None:
        """Ask for what has no outcome yet, and add what comes of it."""
        had.update(self._recall(items))
        rest = [position for position in range(len(items)) if position not in had]
        if not rest:
            return
        try:
            outcomes: Sequence[object] = await self._asking.ask([items[position] for position in rest])
            cause = None
        except IncompleteError as error:
            outcomes, cause = error.outcomes, error.cause
        except ModelUnavailableError as error:
            outcomes, cause = [None] * len(rest), error
        had.update(
            (position, cast("OutcomeT | ItemFailure", outcome))
            for position, outcome in zip(rest, outcomes, strict=True)
            if outcome is not None
        )
        if cause is None:
            return
        if not isinstance(cause, SuspectBatchError):
            raise cause
        self._report(FailedTry(number=1, error=cause))
        await self._ask_each(items, [position for position in rest if position not in had], had)

    async def _ask_each(
        self, items: Sequence[ItemT], suspects: Sequence[int], had: dict[int, OutcomeT | ItemFailure]
    ) -> None:
        """Ask for each suspect alone, one after the other, all batches together."""
        async with self._one_suspect:
            await self._ask_control(items[suspects[0]])
            for position in suspects:
                known = self._recall([items[position]])
                had[position] = known[0] if known else await self._ask_suspect(items[position])

    async def _ask_suspect(self, item: ItemT) -> OutcomeT | ItemFailure:
        """Return the outcome of an item, with the model at work just before; its failure where it breaks the model."""
        for number in range(1, _TRIES_ALONE + 1):
            try:
                (outcome,) = await self._asking.ask_alone([item])
            except SuspectBatchError as error:
                broken = error
                self._report(FailedTry(number=number + 1, error=error))
                # Apart from suspects of other processes, which may have died of the same.
                await asyncio.sleep(random.uniform(0, 5 * self._patience.initial_s))
                await self._ask_control(item)
            else:
                return outcome
        return self._convict(item, broken)

    async def _ask_control(self, item: ItemT) -> None:
        await self._asking.ask([self._asking.control(item)])

    def _convict(self, item: ItemT, error: SuspectBatchError) -> ItemFailure:
        conviction = self._asking.conviction(error)
        _log.warning("an item breaks the model, which works without it", error=conviction, reason=str(error))
        failure = ItemFailure(error=conviction, message=f"asked for alone, the model broke off each time: {error}")
        self._convicted[self._asking.name(item)] = (self._clock() + _REMEMBERED_S, failure)
        while len(self._convicted) > _MAX_REMEMBERED:
            self._convicted.popitem(last=False)
        return failure

    def _recall(self, items: Sequence[ItemT]) -> dict[int, ItemFailure]:
        """Return the outcomes of items that were convicted a short while ago, by position."""
        while self._convicted and next(iter(self._convicted.values()))[0] <= self._clock():
            self._convicted.popitem(last=False)
        if not self._convicted:
            return {}
        known = [self._convicted.get(self._asking.name(item)) for item in items]
        return {position: entry[1] for position, entry in enumerate(known) if entry is not None}

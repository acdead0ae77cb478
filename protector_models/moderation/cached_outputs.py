"""Model outputs from the cache where they are there, from the model where not, each distinct one computed once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from protector_models.moderation.errors import DependencyError, IncompleteError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.outages import Outage
from protector_models.moderation.ports import Metrics, VerdictCache
from protector_models.moderation.recent_outputs import RecentOutputs

ItemT = TypeVar("ItemT")
T = TypeVar("T", bound=BaseModel)
T_co = TypeVar("T_co", covariant=True)

_Flights: TypeAlias = dict[str, asyncio.Future[T | ItemFailure | None]]
"""Outputs that are being computed, by key; None where that came to nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObtainedOutput(Generic[T_co]):
    """A model output, and how it was obtained."""

    output: T_co | ItemFailure
    cached: bool
    """True if it was found in the cache, false if a model run gave it."""


class CachedOutputs(Generic[ItemT, T]):
    """Looks model outputs of one kind up, computes the missing ones, and stores those that succeeded.

    An output is stored under the revision that it names: where a deployment goes from one model to the next, both
    answer for a while. What a model gave before it broke off is stored too, and not asked for again.

    What the cache gave lately is at hand without it, for a short time (`RecentOutputs`).

    Single flight: until an output is computed and stored, other batches of this process that need it take it over
    instead of computing it again. If the computation comes to nothing, they compute for themselves: what the other
    batch failed on need not be among their own items.
    """

    def __init__(
        self,
        *,
        kind: str,
        model: type[T],
        key: Callable[[str, ItemT], str],
        revision_of: Callable[[T], str],
        cache: VerdictCache,
        metrics: Metrics,
    ) -> None:
        """Begin with nothing under way.

        Args:
            kind: of outputs, for metrics.
            model: their class.
            key: gives the cache key of what a revision puts out for an item.
            revision_of: gives the revision that an output names.
            cache: keeps them.
            metrics: counts hits and misses.
        """
        self._kind = kind
        self._model = model
        self._key = key
        self._revision_of = revision_of
        self._cache = cache
        self._metrics = metrics
        self._in_flight: _Flights[T] = {}
        self._recent: RecentOutputs[T] = RecentOutputs()

    async def get_many(
        self,
        items: Sequence[ItemT],
        compute: Callable[[Sequence[ItemT]], Awaitable[Sequence[T | ItemFailure]]],
        *,
        revision: str,
        notes_outages: bool = False,
    ) -> list[ObtainedOutput[T]]:
        """Return the output for each item.

        Args:
            items: what outputs are wanted for; those with equal keys are looked up and computed once.
            compute: called with the items whose outputs are nowhere to be had; returns these in that order.
            revision: of the model, as far as known: outputs under it are looked for. What is computed may name another.
            notes_outages: whether an `Outage` stands for what is not to be had while the model is away.

        Raises:
            Exception: raised by `compute`; what an `IncompleteError` holds is stored. No `DependencyError` where
                outages are noted.
        """
        if not items:
            return []
        keys = [self._key(revision, item) for item in items]
        wanted: dict[str, ItemT] = {}
        for key, item in zip(keys, items, strict=True):
            wanted.setdefault(key, item)
        found = await self._look_up(list(wanted))
        computed: dict[str, T | ItemFailure] = {}
        while missing := [key for key in wanted if key not in found and key not in computed]:
            joined = {key: self._in_flight[key] for key in missing if key in self._in_flight}
            own = {key: wanted[key] for key in missing if key not in joined}
            if own:
                try:
                    computed |= await self._compute(own, compute, revision)
                except DependencyError as error:
                    if not notes_outages:
                        raise
                    computed |= self._note_outage(own, error)
            for key, flight in joined.items():
                output = await asyncio.shield(flight)
                if output is not None:
                    computed[key] = output
        return [
            ObtainedOutput(output=found[key], cached=True)
            if key in found
            else ObtainedOutput(output=computed[key], cached=False)
            for key in keys
        ]

    def _note_outage(self, items: Mapping[str, ItemT], error: DependencyError) -> dict[str, T | ItemFailure]:
        """Return what was had before the model went away, and for the rest that it did."""
        kinds = (self._model, ItemFailure)
        outcomes = error.outcomes if isinstance(error, IncompleteError) else [None] * len(items)
        outage = Outage(cause=error)
        return {
            key: outcome if isinstance(outcome, kinds) else outage for key, outcome in zip(items, outcomes, strict=True)
        }

    async def _look_up(self, keys: Sequence[str]) -> dict[str, T]:
        found = {key: output for key in keys if (output := self._recent.find(key)) is not None}
        rest = [key for key in keys if key not in found]
        stored = await self._cache.get_many(rest) if rest else []
        foreign = 0
        for key, value in zip(rest, stored, strict=True):
            if value is None:
                continue
            try:
                found[key] = self._model.model_validate_json(value)
            except ValidationError:
                foreign += 1
            else:
                self._recent.keep(key, found[key], len(value))
        if found:
            self._metrics.count("weir_cache_hits_total", len(found), kind=self._kind)
        if len(found) < len(keys):
            self._metrics.count("weir_cache_misses_total", len(keys) - len(found), kind=self._kind)
        if foreign:
            self._metrics.count("weir_cache_foreign_total", foreign, kind=self._kind)
        return found

    async def _compute(
        self,
        items: Mapping[str, ItemT],
        compute: Callable[[Sequence[ItemT]], Awaitable[Sequence[T | ItemFailure]]],
        revision: str,
    ) -> dict[str, T | ItemFailure]:
        """Compute and store under `_in_flight`, so that others can join; whatever happens, nobody is left waiting."""
        loop = asyncio.get_running_loop()
        flights: _Flights[T] = {key: loop.create_future() for key in items}
        self._in_flight.update(flights)
        try:
            try:
                computed = dict(zip(items, await compute(list(items.values())), strict=True))
            except IncompleteError as error:
                kinds = (self._model, ItemFailure)
                outcomes = zip(items, error.outcomes, strict=True)
                had = {key: output for key, output in outcomes if isinstance(output, kinds)}
                await self._keep(had, items, flights, revision)
                raise
            await self._keep(computed, items, flights, revision)
            return computed
        finally:
            for key, flight in flights.items():
                del self._in_flight[key]
                if not flight.done():
                    flight.set_result(None)

    async def _keep(
        self,
        outputs: Mapping[str, T | ItemFailure],
        items: Mapping[str, ItemT],
        flights: _Flights[T],
        revision: str,
    ) -> None:
        """Tell those who wait, and store the successes; a failure may pass, and is tried again next time."""
        for key, output in outputs.items():
            flights[key].set_result(output)
        values: dict[str, bytes] = {}
        for key, output in outputs.items():
            if not isinstance(output, ItemFailure):
                named = self._revision_of(output)
                under = key if named == revision else self._key(named, items[key])
                values[under] = output.model_dump_json().encode()
        # Others may have looked into the cache before this is stored, and learn so only after it: they still join.
        if values:
            await self._cache.put_many(values)

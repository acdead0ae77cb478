"""Model outputs from the cache where they are there, from the model where not, each distinct one computed once."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from pydantic import BaseModel, ValidationError

from protector_models.moderation.errors import DependencyError, ModelUnavailableError
from protector_models.moderation.ports import Metrics, VerdictCache
from protector_models.moderation.verdict import ItemFailure

T = TypeVar("T", bound=BaseModel)
T_co = TypeVar("T_co", covariant=True)

_Flights: TypeAlias = dict[str, asyncio.Future[T | ItemFailure]]
"""Outputs that are being computed, by key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled(Generic[T_co]):
    """A model output, and where it came from."""

    output: T_co | ItemFailure
    cached: bool
    """True if it was found in the cache, false if a model run gave it."""


class Recall(Generic[T]):
    """Looks model outputs of one kind up by key, computes the missing ones, and stores those that succeeded.

    Single flight: until an output is computed and stored, other batches of this process that need it take it over
    instead of computing it again. If the computation fails, all who wait get an error that lets them try again: what
    the other batch failed on need not be among their own items.
    """

    def __init__(self, *, kind: str, model: type[T], cache: VerdictCache, metrics: Metrics) -> None:
        self._kind = kind
        self._model = model
        self._cache = cache
        self._metrics = metrics
        self._in_flight: _Flights[T] = {}

    async def get_many(
        self,
        keys: Sequence[str],
        compute: Callable[[Sequence[int]], Awaitable[Sequence[T | ItemFailure]]],
        *,
        apart: bool = False,
    ) -> list[Recalled[T]]:
        """Return the output for each key.

        Args:
            keys: one key per item; equal keys are looked up and computed once.
            compute: called at most once with the positions in `keys` whose outputs are nowhere to be had; returns their
                outputs in that order.
            apart: call `compute` once for each of them instead, all at the same time. What one gives is then kept
                although another one raises, and a batch that is tried again gets on.

        Raises:
            DependencyError: raised by `compute`, or the batch that was computing the same key failed or was given up.
        """
        if not keys:
            return []
        first_positions: dict[str, int] = {}
        for position, key in enumerate(keys):
            first_positions.setdefault(key, position)
        found = await self._look_up(list(first_positions))
        missing = {key: position for key, position in first_positions.items() if key not in found}
        joined = {key: self._in_flight[key] for key in missing if key in self._in_flight}
        own = {key: position for key, position in missing.items() if key not in joined}
        computed: dict[str, T | ItemFailure] = {}
        if own:
            computed.update(await self._compute(own, compute, apart=apart))
        for key, flight in joined.items():
            computed[key] = await asyncio.shield(flight)
        return [
            Recalled(output=found[key], cached=True) if key in found else Recalled(output=computed[key], cached=False)
            for key in keys
        ]

    async def _look_up(self, keys: Sequence[str]) -> dict[str, T]:
        stored = await self._cache.get_many(keys)
        found: dict[str, T] = {}
        foreign = 0
        for key, value in zip(keys, stored, strict=True):
            if value is None:
                continue
            try:
                found[key] = self._model.model_validate_json(value)
            except ValidationError:
                foreign += 1
        if found:
            self._metrics.count("weir_cache_hits_total", len(found), kind=self._kind)
        if len(found) < len(keys):
            self._metrics.count("weir_cache_misses_total", len(keys) - len(found), kind=self._kind)
        if foreign:
            self._metrics.count("weir_cache_foreign_total", foreign, kind=self._kind)
        return found

    async def _compute(
        self,
        positions: dict[str, int],
        compute: Callable[[Sequence[int]], Awaitable[Sequence[T | ItemFailure]]],
        *,
        apart: bool,
    ) -> dict[str, T | ItemFailure]:
        """Compute and store under `_in_flight`, so that others can join; whatever happens, nobody is left waiting."""
        loop = asyncio.get_running_loop()
        flights: _Flights[T] = {key: loop.create_future() for key in positions}
        self._in_flight.update(flights)
        parts = [{key: position} for key, position in positions.items()] if apart else [positions]
        try:
            return await self._run_parts(parts, compute, flights)
        except BaseException as error:
            _tell_failure(flights, error)
            raise
        finally:
            for key in positions:
                del self._in_flight[key]

    async def _run_parts(
        self,
        parts: Sequence[Mapping[str, int]],
        compute: Callable[[Sequence[int]], Awaitable[Sequence[T | ItemFailure]]],
        flights: _Flights[T],
    ) -> dict[str, T | ItemFailure]:
        try:
            async with asyncio.TaskGroup() as group:
                runs = [group.create_task(self._run(part, compute, flights)) for part in parts]
        except ExceptionGroup as failures:
            # The first failure cancelled the other parts; it stands for all.
            raise failures.exceptions[0] from None
        return {key: output for run in runs for key, output in run.result().items()}

    async def _run(
        self,
        positions: Mapping[str, int],
        compute: Callable[[Sequence[int]], Awaitable[Sequence[T | ItemFailure]]],
        flights: _Flights[T],
    ) -> dict[str, T | ItemFailure]:
        """Compute, tell those who wait, and store."""
        computed = dict(zip(positions, await compute(list(positions.values())), strict=True))
        for key, output in computed.items():
            flights[key].set_result(output)
        # Others may have looked into the cache before this is stored, and learn so only after it: they still join.
        await self._store(computed)
        return computed

    async def _store(self, outputs: dict[str, T | ItemFailure]) -> None:
        """Store the successes; a failure may pass, and is tried again next time."""
        values = {
            key: output.model_dump_json().encode()
            for key, output in outputs.items()
            if not isinstance(output, ItemFailure)
        }
        if values:
            await self._cache.put_many(values)


def require_revision(found: str, asked: str) -> None:
    """Require that an output is of the revision under which it is going to be kept.

    Raises:
        ModelUnavailableError: the model was replaced meanwhile; what was asked of the old one must be asked again.
    """
    if found != asked:
        raise ModelUnavailableError(f"{asked} was asked and {found} answered: try again under that revision")


def _tell_failure(flights: _Flights[T], error: BaseException) -> None:
    """Tell those who wait for what was not computed how it ended."""
    shared = (
        error
        if isinstance(error, DependencyError)
        else ModelUnavailableError(f"the batch that was computing this ended in {type(error).__name__}")
    )
    for flight in flights.values():
        if not flight.done():
            flight.set_exception(shared)
            flight.exception()  # mark as seen: nobody may have joined

"""Models that are away: what stands for their outcomes, and who goes on without them."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Literal

from pydantic import ConfigDict, Field

from protector_models.moderation.errors import DependencyError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.ports import Metrics

_log = logging.getLogger(__name__)

MODEL_UNAVAILABLE = "ModelUnavailable"
"""The class of error of an item whose model was away: of a dead letter, or of why a text was not released."""

Dependency = Literal["detector", "detoxifier", "mllm", "images"]
"""What may be away, by the names that verdicts have for it."""

OnOutage = Literal["closed", "open"]
"""Whether somebody waits for a model that is away, or goes on without it."""


class Outage(ItemFailure):
    """Stands for the outcome of an item of a model that was away. Never crosses a process."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    error: str = MODEL_UNAVAILABLE
    message: str = "the model was away, and the policy goes on without it"
    cause: DependencyError = Field(exclude=True, repr=False)
    """What the model raised; raised on where somebody does not go on without it."""


def require_open(met: Iterable[tuple[object, OnOutage]]) -> int:
    """Return how many outcomes are outages that somebody goes on without.

    Args:
        met: each outcome, and whether whoever it is for goes on.

    Raises:
        DependencyError: one is an outage, and whoever it is for does not go on.
    """
    num_open = 0
    for outcome, on_outage in met:
        if isinstance(outcome, Outage):
            if on_outage == "closed":
                raise outcome.cause
            num_open += 1
    return num_open


def tell_open(metrics: Metrics, dependency: Dependency, number: int) -> None:
    """Count and log events that go on without a model."""
    if number:
        metrics.count("weir_failed_open_total", number, dependency=dependency)
        _log.warning("%s is away: %d events go on without it, as their policy says", dependency, number)


@contextmanager
def failing_closed(metrics: Metrics, dependency: Dependency, number: int) -> Iterator[None]:
    """Count the events that are not moderated where a model turns out to be away in here.

    Raises:
        DependencyError: it is; it passes as it is.
    """
    try:
        yield
    except DependencyError:
        metrics.count("weir_failed_closed_total", number, dependency=dependency)
        raise

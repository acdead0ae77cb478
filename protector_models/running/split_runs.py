"""Runs of a model that break: computed item by item, so that one at fault fails alone and a sick device does not."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from protector_models.moderation.engine_faults import is_engine_error
from protector_models.moderation.errors import DeviceFailedError, DeviceMemoryError, ModelUnavailableError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.running.engine_errors import find_device_failure

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

MODEL_FAILED = "ModelFailed"
"""The error of an item on which the model breaks."""

TRANSFORMERS_ERRORS = (IndexError, ValueError)
"""What the code of transformers raises on a text, beside errors of torch."""

_OF_THE_MODEL = frozenset({MODEL_FAILED, "NotFiniteScore"})


def run_or_split(
    run: Sequence[ItemT],
    compute: Callable[[Sequence[ItemT]], list[ResultT]],
    *,
    revision: str,
    num_tokens: int | None = None,
    also: tuple[type[Exception], ...] = (),
) -> list[ResultT | ItemFailure]:
    """Compute a run; where the model breaks on it, compute each item alone, so that one at fault fails alone.

    Args:
        run: at least one item.
        compute: called with the run; same length and order.
        revision: of the model, for messages.
        num_tokens: of the longest item, for messages.
        also: errors beside those of engines that say no more than that the model breaks.

    Raises:
        DeviceFailedError: the device failed.
        DeviceMemoryError: it is out of memory.
        Exception: what else `compute` raised.
    """
    try:
        return list(compute(run))
    except ModelUnavailableError:
        raise
    except Exception as error:
        outage = find_device_failure(error, revision=revision)
        if isinstance(outage, DeviceFailedError) or (outage is not None and num_tokens is None):
            raise outage from error
        if outage is not None:
            words = f"out of memory with {len(run)} texts of at most {num_tokens} tokens"
            raise DeviceMemoryError(f"{revision}: {words}") from error
        if not is_engine_error(error) and not isinstance(error, also):
            raise
        if len(run) == 1:
            return [ItemFailure(error=MODEL_FAILED, message=f"the model failed ({type(error).__name__})")]
    # One of them breaks the model, nobody knows which.
    split = partial(run_or_split, compute=compute, revision=revision, num_tokens=num_tokens, also=also)
    return [outcome for item in run for outcome in split([item])]


def is_total_failure(outcomes: Sequence[object]) -> bool:
    """Tell whether a call says of no item more than that the model broke on it, on one of them at least.

    Then the model may be at fault: only another item on which it does not break can tell.
    """
    failures = [outcome for outcome in outcomes if isinstance(outcome, ItemFailure)]
    return len(failures) == len(outcomes) and any(failure.error in _OF_THE_MODEL for failure in failures)

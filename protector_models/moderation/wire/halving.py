"""Batches that fail as a whole, halved down to the event at fault: it alone has no verdict."""

import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.engine_faults import is_engine_error
from protector_models.moderation.errors import DependencyError, ModelUnavailableError, UnforeseenError
from protector_models.moderation.ports import Moderates
from protector_models.moderation.settling import settling_together
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Failure, Outcome

_log = logging.getLogger(__name__)

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


@contextmanager
def in_stage(stage: Stage) -> Iterator[None]:
    """Name the stage in which something happens that nobody foresaw.

    Raises:
        UnforeseenError: it happened in here, or in a stage within.
        DependencyError: raised in here; it passes as it is.
    """
    try:
        yield
    except (DependencyError, UnforeseenError):
        raise
    except Exception as error:
        raise UnforeseenError(stage.value, type(error).__name__) from error


def _put_down(error: UnforeseenError) -> Failure:
    stage, name = error.args
    # Without the fault's own text, which may quote the conversation.
    place = traceback.extract_tb((error.__cause__ or error).__traceback__)[-1]
    message = f"unexpected error at {Path(place.filename).name}:{place.lineno} ({place.name})"
    _log.error("%s: %s", name, message)
    return Failure(stage=Stage(stage), error=name, message=message)


async def moderate_isolating(moderator: Moderates, events: Sequence[ConversationEvent]) -> list[Outcome]:
    """Moderate a batch; where it fails as a whole and no dependency is at fault, halve it down to the culprit.

    A fault that nobody foresaw then costs one event a dead letter, not a batch, and never stops the caller. Where what
    a model computes with breaks in the same way on all of two or more different events, each alone, the model is ill.

    Raises:
        DependencyError: a model is gone, late or ill; nothing was decided.
    """
    return await run_isolating(moderator.moderate, events, stage=Stage.ASSESS, content=shown_content)


def shown_content(event: ConversationEvent) -> object:
    """Return what models are shown of an event: copies of one have the same."""
    answered = event.messages if event.lacks_response() else ()
    return event.exchange(event.response or ""), event.image_references(), answered


async def run_isolating(
    step: Callable[[Sequence[ItemT]], Awaitable[list[ResultT]]],
    items: Sequence[ItemT],
    *,
    stage: Stage,
    content: Callable[[ItemT], object],
) -> list[ResultT | Failure]:
    """Run a step of moderation over a batch, halved down to the culprit in the same way.

    Args:
        step: gives a result for each item, in their order.
        items: any number of them.
        stage: what is to blame for a fault that does not say where it happened.
        content: gives what models are shown of an item. Copies of one are the same evidence, and say nothing of others.

    Raises:
        DependencyError: a model is gone, late or ill; the step was done for none.
    """
    with settling_together():
        ended = await _isolate(step, items, stage=stage)
        faults = [end for end in ended if isinstance(end, UnforeseenError)]
        is_all_alike = len(faults) == len(ended) and len({fault.args for fault in faults}) == 1
        if is_all_alike and all(map(_is_of_engine, faults)) and _differ([content(item) for item in items]):
            where, name = faults[0].args
            raise ModelUnavailableError(f"{where}: {name} on each of {len(faults)} events alone") from faults[0]
    return [_put_down(end) if isinstance(end, UnforeseenError) else end for end in ended]


async def _isolate(
    step: Callable[[Sequence[ItemT]], Awaitable[list[ResultT]]], items: Sequence[ItemT], *, stage: Stage
) -> list[ResultT | UnforeseenError]:
    try:
        with in_stage(stage):
            return [*await step(items)]
    except UnforeseenError as error:
        if len(items) <= 1:
            return [error for _ in items]
    half = len(items) // 2
    return [*await _isolate(step, items[:half], stage=stage), *await _isolate(step, items[half:], stage=stage)]


def _differ(contents: Sequence[object]) -> bool:
    return any(content != contents[0] for content in contents)


def _is_of_engine(fault: UnforeseenError) -> bool:
    return fault.__cause__ is not None and is_engine_error(fault.__cause__)

"""The port over a language model, without one; `test_language_model` has the models."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from protector_models.detoxification.answer_writer import Draft, WritingTask
from protector_models.detoxification.endpoint import EndpointDetoxifier
from protector_models.detoxification.generative_detoxifier import (
    GenerativeDetoxifier,
    load_generator,
)
from protector_models.detoxification.settings import GeneratorSettings
from protector_models.moderation.errors import ConfigurationError, ModelUnavailableError
from protector_models.moderation.model_outputs import ItemFailure, Rewrite
from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import RewriteMethod
from tests.builders import exchange

Written = Iterator[tuple[int, Draft | ItemFailure]]


@dataclass
class ScriptedWriter:
    """Writes what a function says, and remembers what it was asked."""

    script: Callable[[WritingTask], Draft | ItemFailure]
    revision: str = "scripted@1"
    tasks: list[WritingTask] = field(default_factory=list)

    def write(self, tasks: Sequence[WritingTask], *, is_wanted: Callable[[], bool]) -> Written:
        """Write an answer for each task, the last one first."""
        assert is_wanted()
        self.tasks += tasks
        for index in reversed(range(len(tasks))):
            yield index, self.script(tasks[index])


class StuckWriter(ScriptedWriter):
    """Hangs at a task that says so, until nobody waits."""

    def __init__(self, script: Callable[[WritingTask], Draft | ItemFailure]) -> None:
        super().__init__(script)
        self.given_up = threading.Event()

    def write(self, tasks: Sequence[WritingTask], *, is_wanted: Callable[[], bool]) -> Written:
        """Write the answers before the one that takes for ever."""
        for index, task in enumerate(tasks):
            while task.response == "For ever." and is_wanted():
                pass
            if not is_wanted():
                self.given_up.set()
                raise ModelUnavailableError("scripted@1: given up")
            yield index, self.script(task)


def request(response: str = "You fool.", *, attempt: int = 0) -> RewriteRequest:
    return RewriteRequest(
        exchange=exchange(response), method=RewriteMethod.GENERATE, category="harassment", attempt=attempt
    )


def kind_words(task: WritingTask) -> Draft:
    return Draft(text=f" Kindly: {task.response}\n", is_cut=False)


@asynccontextmanager
async def open_detoxifier(writer: ScriptedWriter, *, deadline_s: float = 60) -> AsyncIterator[GenerativeDetoxifier]:
    detoxifier = GenerativeDetoxifier(writer, deadline_s=deadline_s)
    try:
        yield detoxifier
    finally:
        await detoxifier.close()


async def test_each_response_gets_its_rewrite_in_order() -> None:
    async with open_detoxifier(ScriptedWriter(kind_words)) as detoxifier:
        rewrites = await detoxifier.rewrite([request(f"Fool {number}.") for number in range(9)])
        assert await detoxifier.rewrite([]) == []

    assert rewrites == [Rewrite(text=f"Kindly: Fool {number}.", detoxifier="scripted@1") for number in range(9)]


@pytest.mark.parametrize(
    ("draft", "error"),
    [
        (Draft(text=" ", is_cut=False), "EmptyRewrite"),
        (Draft(text="Kind words that", is_cut=True), "CutRewrite"),
        (Draft(text="I can not. " * 30, is_cut=True), "LoopingRewrite"),
        (Draft(text="You fool.\n", is_cut=False), "UnchangedRewrite"),
        (ItemFailure(error="InputTooLong", message="9 tokens"), "InputTooLong"),
    ],
)
async def test_what_is_no_rewrite_fails_alone_with_its_reason(draft: Draft | ItemFailure, error: str) -> None:
    def script(task: WritingTask) -> Draft | ItemFailure:
        return draft if task.response == "You fool." else kind_words(task)

    async with open_detoxifier(ScriptedWriter(script)) as detoxifier:
        failure, neighbour = await detoxifier.rewrite([request(), request("Pest.")])

    assert isinstance(failure, ItemFailure)
    assert failure.error == error
    assert neighbour == Rewrite(text="Kindly: Pest.", detoxifier="scripted@1")


async def test_the_first_attempt_is_not_drawn_and_later_ones_have_seeds_of_request_and_attempt() -> None:
    writer = ScriptedWriter(kind_words)
    async with open_detoxifier(writer) as detoxifier:
        await detoxifier.rewrite([request(), request(attempt=1), request(attempt=2), request("Pest.", attempt=1)])
        await detoxifier.rewrite([request(attempt=2)])

    first, *later, again = [task.seed for task in writer.tasks]
    assert first is None
    assert None not in later
    assert len(set(later)) == 3
    assert again == later[1]


async def test_a_late_model_is_unavailable_and_learns_that_nobody_waits() -> None:
    writer = StuckWriter(kind_words)
    async with open_detoxifier(writer, deadline_s=0.1) as detoxifier:
        with pytest.raises(ModelUnavailableError, match=r"scripted@1: no result within 0\.1 s"):
            await detoxifier.rewrite([request("For ever.")])
        assert await asyncio.to_thread(writer.given_up.wait, 60)


async def test_what_was_written_in_time_is_kept_and_the_next_try_asks_for_the_rest_alone() -> None:
    writer = StuckWriter(kind_words)
    async with open_detoxifier(writer, deadline_s=0.5) as detoxifier:
        with pytest.raises(ModelUnavailableError, match="no result within"):
            await detoxifier.rewrite([request("Fool."), request("For ever."), request("Pest.")])
        assert await asyncio.to_thread(writer.given_up.wait, 60)
        num_tasks = len(writer.tasks)
        assert await detoxifier.rewrite([request("Fool.")]) == [Rewrite(text="Kindly: Fool.", detoxifier="scripted@1")]
        assert len(writer.tasks) == num_tasks


async def test_where_nothing_but_failures_came_in_time_the_model_is_unavailable() -> None:
    too_long = ItemFailure(error="InputTooLong", message="9 tokens")
    async with open_detoxifier(StuckWriter(lambda _: too_long), deadline_s=0.1) as detoxifier:
        with pytest.raises(ModelUnavailableError, match="no result within"):
            await detoxifier.rewrite([request("Fool."), request("For ever.")])


async def test_a_call_that_waits_behind_a_stuck_one_gets_its_turn_once_that_is_late() -> None:
    async with open_detoxifier(StuckWriter(kind_words), deadline_s=0.3) as detoxifier:
        stuck = asyncio.create_task(detoxifier.rewrite([request("Fool."), request("For ever.")]))
        await asyncio.sleep(0.2)
        assert await detoxifier.rewrite([request("Pest.")]) == [Rewrite(text="Kindly: Pest.", detoxifier="scripted@1")]
        with pytest.raises(ModelUnavailableError):
            await stuck


async def test_a_model_whose_device_fails_is_unavailable() -> None:
    def fail(task: WritingTask) -> Draft:
        raise ModelUnavailableError("scripted@1: out of GPU memory")

    async with open_detoxifier(ScriptedWriter(fail)) as detoxifier:
        with pytest.raises(ModelUnavailableError, match="out of GPU memory"):
            await detoxifier.rewrite([request()])


async def test_the_settings_name_what_is_loaded() -> None:
    endpoint = GeneratorSettings(kind="openai", model="kind-7b", base_url="http://127.0.0.1:1/v1")
    detoxifier = load_generator(endpoint)
    assert isinstance(detoxifier, EndpointDetoxifier)
    await detoxifier.close()
    with pytest.raises(ConfigurationError, match="expected 'transformers' or 'openai', got 'off'"):
        load_generator(GeneratorSettings())

"""The port over an MLLM, without one; `test_vision_language_model` has the models."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import SecretStr

from protector_models.mllms.endpoint import ChatEndpointGenerator
from protector_models.mllms.mllm import TransformersMllm, load_mllm
from protector_models.mllms.settings import MllmSettings
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import (
    ConfigurationError,
    DeviceFailedError,
    ModelUnavailableError,
    UnansweredError,
)
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.ports import Answer
from protector_models.running.deadlines import within
from tests.builders import event, texts_of

TOO_LONG = ItemFailure(error="InputTooLong", message="9 tokens, expected at most 8")


class EchoingModel:
    """Answers with the prompt, word by word; hangs at "stuck" until nobody waits, and breaks at "broken"."""

    revision = "echo@1"

    def __init__(self) -> None:
        self.ended = threading.Event()
        """Set when a hanging call ends."""
        self.asked: list[str] = []

    def answer(
        self, events: Sequence[ConversationEvent], *, is_wanted: Callable[[], bool]
    ) -> Iterator[tuple[int, str | ItemFailure]]:
        """Answer each conversation, the last one first."""
        for index in reversed(range(len(events))):
            yield index, self._answer(events[index], is_wanted)

    def stream(self, event: ConversationEvent, *, emit: Callable[[str], None], is_wanted: Callable[[], bool]) -> None:
        """Answer one conversation."""
        for word in event.messages[0].text().split():
            emit(f"{word} ")
            answer = self._answer(event, is_wanted) if word == "stuck" else word
        if isinstance(answer, ItemFailure) or word == "long":
            raise UnansweredError("InputTooLong: 9 tokens")

    def _answer(self, event: ConversationEvent, is_wanted: Callable[[], bool]) -> str | ItemFailure:
        text = event.messages[0].text()
        self.asked.append(text)
        if "broken" in text:
            raise DeviceFailedError("echo@1: the GPU failed")
        if "stuck" in text:
            while is_wanted():
                pass
            self.ended.set()
            raise ModelUnavailableError("echo@1: given up")
        return TOO_LONG if text == "long" else text


@asynccontextmanager
async def open_mllm(*, deadline_s: float = 60.0) -> AsyncIterator[tuple[TransformersMllm, EchoingModel]]:
    """Open an MLLM over the model."""
    model = EchoingModel()
    mllm = TransformersMllm(model, deadline_s=deadline_s)
    try:
        yield mllm, model
    finally:
        await mllm.close()


def ask(prompt: str) -> ConversationEvent:
    return event(None, prompt=prompt)


async def read(mllm: TransformersMllm, prompt: str, pieces: list[str]) -> None:
    async for piece in mllm.stream(ask(prompt)):
        pieces.append(piece)  # noqa: PERF401  # what comes before an error is kept


async def test_each_conversation_gets_its_answer_and_a_failure_is_a_value() -> None:
    async with open_mllm() as (mllm, _):
        assert await mllm.generate([ask("a"), ask("long"), ask("b")]) == [
            Answer(text="a", mllm="echo@1"),
            TOO_LONG,
            Answer(text="b", mllm="echo@1"),
        ]
        assert await mllm.generate([]) == []
        assert mllm.revision == "echo@1"


async def test_what_was_answered_in_time_is_kept_and_the_next_try_asks_for_the_rest_alone() -> None:
    async with open_mllm(deadline_s=1.0) as (mllm, model):
        for _ in range(2):
            with pytest.raises(ModelUnavailableError, match="no result within 1 s"):
                await mllm.generate([ask("stuck"), ask("b"), ask("a")])
        assert model.asked == ["a", "b", "stuck", "stuck"]
        assert texts_of(await mllm.generate([ask("a"), ask("b")])) == ["a", "b"]
        assert model.asked == ["a", "b", "stuck", "stuck"]


async def test_what_was_answered_is_kept_where_the_caller_stops_waiting() -> None:
    async with open_mllm() as (mllm, model):
        with pytest.raises(ModelUnavailableError):
            await within(1.0, lambda: mllm.generate([ask("stuck"), ask("a")]), waiting_for="the caller")
        assert await asyncio.to_thread(model.ended.wait, 30)
        assert texts_of(await mllm.generate([ask("a")])) == ["a"]
        assert model.asked == ["a", "stuck"]


async def test_a_call_that_waits_for_those_before_it_is_not_late() -> None:
    async with open_mllm(deadline_s=0.5) as (mllm, _):
        async with asyncio.TaskGroup() as group:
            late = [group.create_task(_outcome(mllm, "stuck")) for _ in range(3)]
            good = group.create_task(_outcome(mllm, "a"))
        assert good.result() == "a"
        assert all("no result within" in task.result() for task in late)


async def _outcome(mllm: TransformersMllm, prompt: str) -> str:
    try:
        (answered,) = texts_of(await mllm.generate([ask(prompt)]))
    except ModelUnavailableError as error:
        return str(error)
    return str(answered)


async def test_a_model_that_breaks_on_all_it_is_given_decides_nothing() -> None:
    class Breaking(EchoingModel):
        def _answer(self, event: ConversationEvent, is_wanted: Callable[[], bool]) -> str | ItemFailure:
            text = event.messages[0].text()
            return ItemFailure(error="ModelFailed", message="it failed") if "bad" in text else text

    mllm = TransformersMllm(Breaking(), deadline_s=60)
    for prompts in (["bad"], ["bad", "bad too"]):
        with pytest.raises(ModelUnavailableError, match="broke on all"):
            await mllm.generate([ask(prompt) for prompt in prompts])
    broken, good = texts_of(await mllm.generate([ask("bad"), ask("a")]))
    assert (isinstance(broken, ItemFailure), good) == (True, "a")
    await mllm.close()


async def test_where_nothing_was_answered_in_time_the_model_is_unavailable() -> None:
    async with open_mllm(deadline_s=0.3) as (mllm, _):
        with pytest.raises(ModelUnavailableError, match=r"echo@1: no result within 0\.3 s"):
            await mllm.generate([ask("stuck")])


async def test_pieces_come_as_they_are_written() -> None:
    async with open_mllm() as (mllm, _):
        pieces: list[str] = []
        await read(mllm, "take the bus", pieces)
        assert pieces == ["take ", "the ", "bus "]


async def test_a_conversation_that_cannot_be_answered_ends_its_stream_with_an_error() -> None:
    async with open_mllm() as (mllm, _):
        pieces: list[str] = []
        with pytest.raises(UnansweredError, match="InputTooLong"):
            await read(mllm, "too long", pieces)
        assert pieces == ["too ", "long "]


async def test_a_stream_that_is_late_ends_with_an_error_and_never_silently() -> None:
    async with open_mllm(deadline_s=0.3) as (mllm, model):
        pieces: list[str] = []
        with pytest.raises(ModelUnavailableError, match=r"not finished within 0\.3 s"):
            await read(mllm, "now stuck", pieces)
        assert pieces == ["now ", "stuck "]
        assert await asyncio.to_thread(model.ended.wait, 30)


async def test_writing_ends_when_its_reader_leaves() -> None:
    async with open_mllm() as (mllm, model):
        pieces = mllm.stream(ask("stuck"))
        assert await anext(pieces) == "stuck "
        await pieces.aclose()
        assert await asyncio.to_thread(model.ended.wait, 30)
        # The thread is free again.
        assert texts_of(await mllm.generate([ask("a")])) == ["a"]


async def test_health_is_that_of_the_device_and_a_long_answer_is_no_illness() -> None:
    async with open_mllm() as (mllm, _):
        pieces = mllm.stream(ask("stuck"))
        await anext(pieces)
        await mllm.check_health(timeout_s=1)
        await pieces.aclose()
        with pytest.raises(ModelUnavailableError):
            await mllm.generate([ask("broken")])
        with pytest.raises(ModelUnavailableError, match="expected a new process"):
            await mllm.check_health(timeout_s=1)


async def test_an_endpoint_is_loaded_and_its_health_calls_nobody() -> None:
    settings = MllmSettings(kind="openai", base_url="http://127.0.0.1:1/v1", model="llava")
    mllm = load_mllm(settings, num_threads=1, timeout_s=10)
    assert isinstance(mllm, ChatEndpointGenerator)
    await mllm.check_health(timeout_s=1)
    await mllm.close()


def test_no_mllm_is_no_model() -> None:
    with pytest.raises(ConfigurationError, match="expected 'transformers' or 'openai', got 'off'"):
        load_mllm(MllmSettings(), num_threads=1, timeout_s=10)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "off", "model": "m"}, "kind 'off': expected no model"),
        ({"kind": "openai", "model": "m", "base_url": "http://h/v1", "device": "cuda"}, "expected no device"),
        ({"kind": "transformers", "model": "m", "api_key": SecretStr("sk-secret")}, "expected no api_key"),
        ({"kind": "transformers"}, "expected model to be set"),
        ({"kind": "openai", "model": "m"}, "expected base_url to be set"),
        ({"kind": "openai", "model": "m", "base_url": "http://me:pw@h/v1"}, "without user, password"),
        ({"kind": "transformers", "model": "m", "seed": 1}, "temperature 0: expected no seed"),
        ({"kind": "transformers", "model": "m", "top_p": 0.5}, "temperature 0: expected no top_p"),
        ({"kind": "transformers", "model": "m", "temperature": 0.5, "top_p": 0}, "top_p"),
    ],
)
def test_keys_that_do_not_fit_the_kind_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        MllmSettings(**fields)
    assert "sk-secret" not in str(caught.value)

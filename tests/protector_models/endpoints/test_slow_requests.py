"""Requests that a chat endpoint does not answer in time, beside those that it does, by a clock that jumps."""

import asyncio
import json
import math
from collections import Counter
from collections.abc import Sequence

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from protector_models.endpoints.chat_answers import Completion
from protector_models.endpoints.chat_completions import ChatCompletions
from protector_models.endpoints.chat_sender import ChatRequest
from protector_models.moderation.errors import ModelUnavailableError, SuspectBatchError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.running.deadlines import within
from services.patience import Patience
from services.persistence import Asking, Persistence
from tests.virtual_time import run_virtually

DEADLINE_S = 180.0


class SlowEndpoint:
    """Answers in a second, but what begins with `slow` never; nothing at all while it hangs."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.answered: Counter[str] = Counter()
        self.hangs = False

    async def handle(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        prompt = str(json.loads(request.content)["messages"][-1]["content"])
        self.asked[prompt] += 1
        if self.hangs or prompt.startswith("slow"):
            await asyncio.Event().wait()
        await asyncio.sleep(1)
        self.answered[prompt] += 1
        return httpx.Response(200, json={"choices": [{"message": {"role": "assistant", "content": prompt}}]})


def connect(endpoint: SlowEndpoint, *, concurrency: int) -> ChatCompletions:
    """Return what sends requests to an endpoint."""
    return ChatCompletions(
        client=httpx.AsyncClient(
            base_url="http://endpoint/v1", transport=httpx.MockTransport(endpoint.handle), timeout=DEADLINE_S
        ),
        model="m",
        options={},
        revision="m@1",
        concurrency=concurrency,
        max_attempts=4,
        deadline_s=DEADLINE_S,
    )


def ask(prompts: Sequence[str]) -> list[ChatRequest]:
    """Return a request for each prompt."""
    return [ChatRequest(messages=[{"role": "user", "content": prompt}]) for prompt in prompts]


def ends(outcomes: Sequence[Completion | ItemFailure]) -> list[str]:
    """Return texts, and the errors of failures."""
    return [outcome.text if isinstance(outcome, Completion) else outcome.error for outcome in outcomes]


@st.composite
def batches(draw: st.DrawFn) -> tuple[int, list[str]]:
    """Draw a number of slots, and a batch in which no more requests than that are slow."""
    num_slots = draw(st.integers(1, 4))
    num_slow = draw(st.integers(0, num_slots))
    prompts = [*(f"slow {number}" for number in range(num_slow)), *map(str, range(draw(st.integers(1, 12))))]
    return num_slots, draw(st.permutations(prompts))


@given(batches())
@example((2, ["slow 0", "slow 1", "0", "1", "2"]))
def test_what_is_not_slow_is_answered_after_two_tries_although_slow_requests_take_all_slots(
    drawn: tuple[int, list[str]],
) -> None:
    num_slots, prompts = drawn

    async def try_twice() -> None:
        endpoint = SlowEndpoint()
        chat = connect(endpoint, concurrency=num_slots)
        for _ in range(2):
            try:
                outcomes = await chat.complete(ask(prompts))
            except ModelUnavailableError:
                continue
            assert ends(outcomes) == ["EndpointError" if "slow" in prompt else prompt for prompt in prompts]
            break
        assert {prompt for prompt in prompts if "slow" not in prompt} <= set(endpoint.answered)

    run_virtually(try_twice())


@given(st.integers(1, 3), st.integers(0, 10), st.integers(0, 6), st.sampled_from([math.inf, 2.6 * DEADLINE_S]))
def test_however_many_are_slow_all_others_are_answered_and_every_slow_one_ends_as_a_failure_of_its_own(
    num_slots: int, num_slow: int, num_quick: int, wait_s: float
) -> None:
    prompts = [*(f"slow {number}" for number in range(num_slow)), *map(str, range(num_quick))]

    async def persist() -> None:
        endpoint = SlowEndpoint()
        chat = connect(endpoint, concurrency=num_slots)

        async def complete(prompts: Sequence[str]) -> list[Completion | ItemFailure]:
            return await within(wait_s, lambda: chat.complete(ask(prompts)), waiting_for="m@1")

        asking: Asking[str, Completion] = Asking(
            ask=complete, ask_alone=complete, control=lambda _: "control", name=lambda prompt: prompt
        )
        persistence = Persistence(asking, patience=Patience(initial_s=1, max_s=10), report=lambda _: None)
        for prompt, outcome in zip(prompts, await persistence.ask(prompts), strict=True):
            assert ends([outcome])[0] in (("EndpointError", "OutlastsTheDeadline") if "slow" in prompt else (prompt,))

    run_virtually(persist())


def test_an_endpoint_that_hangs_for_a_while_convicts_nobody() -> None:
    async def hang() -> None:
        endpoint = SlowEndpoint()
        chat = connect(endpoint, concurrency=2)
        endpoint.hangs = True
        for number in range(4):
            with pytest.raises(ModelUnavailableError) as caught:
                await chat.complete(ask(["0", "1", "2", "3", "4"]))
            # Each has been sent once by the third try; only from then on may they be looked at.
            assert isinstance(caught.value, SuspectBatchError) == (number >= 2)
        endpoint.hangs = False
        assert ends(await chat.complete(ask(["0", "1", "2", "3", "4"]))) == ["0", "1", "2", "3", "4"]

    run_virtually(hang())


def test_what_was_never_sent_goes_first_where_the_caller_gave_the_last_try_up() -> None:
    async def give_up() -> None:
        endpoint = SlowEndpoint()
        chat = connect(endpoint, concurrency=2)
        prompts = ["slow 0", "slow 1", "0", "1"]
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(DEADLINE_S / 2):
                    await chat.complete(ask(prompts))
        assert endpoint.answered == Counter(["0", "1"])

    run_virtually(give_up())

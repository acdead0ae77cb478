"""No event holds the event loop up, however large it is and whatever it holds."""

import asyncio
import math
import time
from collections.abc import Callable, Sequence

import pytest
from pydantic import JsonValue

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fakes import RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.verdict import RewriteMethod
from protector_models.moderation.wire.encoded import EncodedVerdict, FailedValue, moderate_encoded
from protector_models.policies.policy_file import load_policy
from tests.builders import assessment
from tests.loop_watchdog import BLOCKING_S, watch_callbacks
from tests.wire import encode

MAX_BYTES = 16_000_000
SIZE = MAX_BYTES - 2_000
_TRIES = 3


class QuickDetector:
    """Judges without looking: what a detector takes is its own, and it runs elsewhere."""

    revision = "quick@1"

    def __init__(self, *, harmful_from: float = math.inf) -> None:
        """Find harm in responses of so many characters."""
        self._harmful_from = harmful_from

    async def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        return [
            assessment(0.9 if len(exchange.response) >= self._harmful_from else 0.1, detector=self.revision)
            for exchange in exchanges
        ]


def text_of(piece: str) -> str:
    return piece * (SIZE // len(piece.encode()))


def calls_of(arguments: str) -> bytes:
    call: JsonValue = {"type": "function", "function": {"name": "f", "arguments": arguments}}
    return encode("response", messages=[{"role": "assistant", "tool_calls": [call]}])


PART: JsonValue = {"type": "text", "text": "word " * 200}
LARGE: dict[str, Callable[[], Sequence[bytes]]] = {
    "text": lambda: [encode(response=text_of("word "))],
    "letters": lambda: [encode(response="HERE").replace(b"HERE", text_of("\u0645\u0627 ").encode())],
    "escapes": lambda: [encode(response=text_of("word word word ")[: SIZE // 2].replace("d ", "d\n"))],
    "unseen": lambda: [encode(response="HERE").replace(b"HERE", text_of("\u200b").encode())],
    "question": lambda: [encode(messages=[{"role": "user", "content": text_of("word ")}])],
    "picture": lambda: [
        encode(messages=[{"role": "user", "content": [{"type": "image_url", "image_url": {"url": text_of("abcd")}}]}])
    ],
    "messages": lambda: [encode(messages=[{"role": "user", "content": "word " * 300}] * 10_000)],
    "parts": lambda: [
        encode(messages=[{"role": "user", "content": [{"type": "text", "text": "word " * 200}] * 10_000}])
    ],
    "call": lambda: [calls_of(text_of("word "))],
    "arguments": lambda: [calls_of(f"[{'1, ' * 150_000}1]")],
    "too many": lambda: [encode(metadata={"a": [[]] * 4_000_000})],
    "not JSON": lambda: [encode(response=text_of("word "))[:-1]],
    "many": lambda: [encode(response=text_of("word ")[:100_000], event_id=str(number)) for number in range(128)],
}


@pytest.mark.parametrize("name", list(LARGE))
async def test_no_event_holds_the_loop_up(name: str) -> None:
    values: list[bytes | None] = [*LARGE[name]()]
    expected = FailedValue if name in {"too many", "not JSON"} else EncodedVerdict
    # Of several times the best: on a busy machine the same work takes its CPU several times as long now and then.
    for _ in range(_TRIES):
        slow, results = await _slow_callbacks(QuickDetector(), values)
        assert [type(result) for result in results] == [expected] * len(values)
        if not slow:
            return
    pytest.fail(f"held up for {max(slow):.3f} s of the CPU")


@pytest.mark.parametrize("piece", ["I will say some words. ", "word", "- word\n"])
async def test_no_harmful_response_holds_the_loop_up(piece: str) -> None:
    value = encode(response=piece * (4_000_000 // len(piece)))
    for _ in range(_TRIES):
        slow, (result,) = await _slow_callbacks(QuickDetector(harmful_from=10_000), [value])
        assert isinstance(result, EncodedVerdict)
        assert result.verdict.rewrite_method is RewriteMethod.COMPLETE
        if not slow:
            return
    pytest.fail(f"held up for {max(slow):.3f} s of the CPU")


async def _slow_callbacks(
    detector: QuickDetector, values: list[bytes | None]
) -> tuple[list[float], list[EncodedVerdict | FailedValue]]:
    moderator = Moderator(
        policy=load_policy(None),
        detector=detector,
        cache=MemoryVerdictCache(max_entries=1_000),
        metrics=RecordedMetrics(),
    )
    # What is imported and prepared at the first call is not part of it.
    await moderate_encoded(moderator, [encode()], max_bytes=MAX_BYTES)
    with watch_callbacks() as slow:
        results = await asyncio.create_task(moderate_encoded(moderator, values, max_bytes=MAX_BYTES))
    return slow, results


async def test_what_holds_the_loop_up_is_found() -> None:
    async def compute() -> None:
        ends_s = time.thread_time() + 2 * BLOCKING_S
        while time.thread_time() < ends_s:
            pass

    with watch_callbacks() as slow:
        await asyncio.create_task(compute())
    assert len(slow) == 1

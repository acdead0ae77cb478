"""A synchronous model behind the asynchronous port."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import EndlessComputationError, LateError, ModelUnavailableError
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.running.deadlines import within
from protector_models.running.model_threads import InProcessHarmDetector
from tests.builders import exchange
from tests.protector_models.synchronous_detector import BlockedDetector, PlainDetector

LONG_S = 60.0


@pytest.fixture
def blocked() -> Iterator[BlockedDetector]:
    model = BlockedDetector()
    yield model
    model.released.set()


class ThreadNamingDetector(PlainDetector):
    """Remembers the thread it was called on."""

    def __init__(self) -> None:
        self.thread_name = ""

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        self.thread_name = threading.current_thread().name
        return super().assess(exchanges)


class BrokenDetector(PlainDetector):
    """Has a fault of its own."""

    def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
        raise ZeroDivisionError(len(exchanges))


async def test_the_model_runs_on_a_thread_of_its_own() -> None:
    model = ThreadNamingDetector()
    detector = InProcessHarmDetector(model, timeout_s=LONG_S)
    await detector.assess([exchange()])
    detector.close()

    assert model.thread_name.startswith("detector")


async def test_the_event_loop_goes_on_while_the_model_computes(blocked: BlockedDetector) -> None:
    detector = InProcessHarmDetector(blocked, timeout_s=LONG_S)
    call = asyncio.create_task(detector.assess([exchange()]))
    await asyncio.to_thread(blocked.started.wait)
    assert not call.done()
    blocked.released.set()

    assert len(await call) == 1
    detector.close()


async def test_a_model_that_is_late_is_unavailable(blocked: BlockedDetector) -> None:
    detector = InProcessHarmDetector(blocked, timeout_s=0.05)

    with pytest.raises(ModelUnavailableError, match=r"plain-detector@1: no result within 0\.05 s") as caught:
        await detector.assess([exchange()])
    assert isinstance(caught.value.__cause__, TimeoutError)
    detector.close()


async def test_a_call_that_expires_while_it_waits_for_a_thread_is_never_computed(blocked: BlockedDetector) -> None:
    detector = InProcessHarmDetector(blocked, timeout_s=LONG_S, concurrency=1)
    first = asyncio.create_task(detector.assess([exchange()]))
    await asyncio.to_thread(blocked.started.wait)
    with pytest.raises(ModelUnavailableError):
        await within(0.05, lambda: detector.assess([exchange()]), waiting_for="a turn")
    blocked.released.set()
    await first
    await detector.assess([exchange()])
    detector.close()

    assert blocked.calls == 2


async def test_a_call_that_waits_for_its_turn_is_not_late() -> None:
    class Slow(PlainDetector):
        def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
            time.sleep(0.2)
            return super().assess(exchanges)

    detector = InProcessHarmDetector(Slow(), timeout_s=2.0, concurrency=1)
    found = await asyncio.gather(*(detector.assess([exchange()]) for _ in range(12)))
    detector.close()
    assert len(found) == 12


async def test_a_fault_of_the_model_is_raised_as_it_is() -> None:
    detector = InProcessHarmDetector(BrokenDetector(), timeout_s=LONG_S)

    with pytest.raises(ZeroDivisionError):
        await detector.assess([exchange()])
    detector.close()


async def test_a_check_behind_a_long_call_tells_that_the_model_is_busy_and_not_ill(blocked: BlockedDetector) -> None:
    detector = InProcessHarmDetector(blocked, timeout_s=LONG_S)
    call = asyncio.create_task(detector.assess([exchange()]))
    await asyncio.to_thread(blocked.started.wait)
    for _ in range(6):
        assert await detector.try_out([exchange()], timeout_s=0.02) == []
    blocked.released.set()
    await call
    assert blocked.calls == 1
    # It has ended well: nothing need be tried out.
    assert await detector.try_out([exchange()], timeout_s=LONG_S) == []
    assert blocked.calls == 1
    detector.close()


async def test_a_computation_that_does_not_end_is_an_illness(blocked: BlockedDetector) -> None:
    detector = InProcessHarmDetector(blocked, timeout_s=0.05)
    with pytest.raises(ModelUnavailableError, match="no result"):
        await detector.assess([exchange()])
    await asyncio.sleep(0.1)
    with pytest.raises(ModelUnavailableError, match="does not end"):
        await detector.try_out([exchange()], timeout_s=0.05)
    detector.close()


async def test_who_waits_for_a_thread_is_told_that_what_has_it_does_not_end(blocked: BlockedDetector) -> None:
    detector = InProcessHarmDetector(blocked, timeout_s=0.3)
    stuck = asyncio.create_task(detector.assess([exchange()]))
    await asyncio.to_thread(blocked.started.wait)
    # Nobody else bounds the wait.
    with pytest.raises(EndlessComputationError, match="does not end"):
        await asyncio.wait_for(detector.assess([exchange()]), 30)
    with pytest.raises(LateError):
        await stuck
    assert blocked.calls == 1
    detector.close()


async def test_an_idle_model_is_tried_out() -> None:
    detector = InProcessHarmDetector(PlainDetector(), timeout_s=LONG_S)
    assert len(await detector.try_out([exchange()], timeout_s=LONG_S)) == 1
    detector.close()

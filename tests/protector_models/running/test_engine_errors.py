"""Errors of torch and ONNX Runtime: a sick device is an outage, one text on which the model breaks fails alone."""

from collections.abc import Callable, Sequence

import onnxruntime.capi.onnxruntime_pybind11_state as onnxruntime_errors  # type: ignore[import-untyped]  # no types
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from protector_models.detectors.loaded_detector import ThreadedDetector
from protector_models.moderation.conversation import Exchange
from protector_models.moderation.errors import DeviceFailedError, DeviceMemoryError, ModelUnavailableError
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.running.engine_errors import find_device_failure
from protector_models.running.split_runs import run_or_split
from tests.builders import exchange
from tests.protector_models.synchronous_detector import PlainDetector, load_threaded

BROKEN_DEVICES = [
    torch.AcceleratorError("x"),
    RuntimeError("CUDA error: an illegal memory access was encountered"),
    RuntimeError("CUDA error: device-side assert triggered"),
    RuntimeError("cuDNN error: CUDNN_STATUS_EXECUTION_FAILED"),
    RuntimeError("CUBLAS_STATUS_EXECUTION_FAILED when calling `cublasSgemm`"),
    onnxruntime_errors.Fail("CUDA failure 700: an illegal memory access was encountered"),
    onnxruntime_errors.EPFail("x"),
]
NO_MEMORY = [
    torch.OutOfMemoryError("none left"),
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
    onnxruntime_errors.RuntimeException("Failed to allocate memory for requested buffer of size 3"),
    onnxruntime_errors.Fail("bad allocation"),
    MemoryError(),
]
OF_A_TEXT = [
    RuntimeError("The size of tensor a (513) must match the size of tensor b (512)"),
    onnxruntime_errors.InvalidArgument("indices element out of data bounds, idx=30522"),
    onnxruntime_errors.RuntimeException("Non-zero status code returned while running Gather node"),
]


@pytest.mark.parametrize("error", BROKEN_DEVICES, ids=str)
def test_a_device_that_failed_is_told_from_memory_that_does_not_suffice(error: Exception) -> None:
    assert isinstance(find_device_failure(error, revision="m@1"), DeviceFailedError)


@pytest.mark.parametrize("error", NO_MEMORY, ids=repr)
def test_memory_that_does_not_suffice_is_an_outage_that_may_pass(error: Exception) -> None:
    outage = find_device_failure(error, revision="m@1")
    assert isinstance(outage, DeviceMemoryError)
    assert str(outage) == f"m@1: out of memory ({type(error).__name__})"


@pytest.mark.parametrize("error", [*OF_A_TEXT, KeyError("CUDA error: no"), RecursionError("CUDA error: no")], ids=repr)
def test_what_a_text_may_bring_out_is_no_failure_of_the_device(error: Exception) -> None:
    assert find_device_failure(error, revision="m@1") is None


def breaking(error: Exception, breaks: Callable[[Exchange], bool]) -> ThreadedDetector:
    """Load a detector that raises an error on some exchanges."""

    class Breaking(PlainDetector):
        def assess(self, exchanges: Sequence[Exchange]) -> list[Assessment | ItemFailure]:
            if any(map(breaks, exchanges)):
                raise error
            return super().assess(exchanges)

    return load_threaded(Breaking())


EVENTS = [exchange(f"text {number}") for number in range(20)]


@pytest.mark.parametrize("error", [*BROKEN_DEVICES, *NO_MEMORY, *OF_A_TEXT], ids=repr)
@pytest.mark.parametrize("num_events", [1, 2, 20])
async def test_a_model_that_breaks_on_everything_is_an_outage(error: Exception, num_events: int) -> None:
    detector = breaking(error, lambda _: True)
    with pytest.raises(ModelUnavailableError):
        await detector.assess(EVENTS[:num_events])
    with pytest.raises(ModelUnavailableError):
        await detector.check_health(timeout_s=60)
    await detector.close()


@pytest.mark.parametrize("error", OF_A_TEXT, ids=repr)
@pytest.mark.parametrize("exchanges", [EVENTS, EVENTS[:1], [EVENTS[0], EVENTS[0]]], ids=["many", "one", "equal ones"])
async def test_one_text_on_which_the_model_breaks_fails_alone(error: Exception, exchanges: list[Exchange]) -> None:
    detector = breaking(error, lambda item: item == EVENTS[0])
    outcomes = await detector.assess(exchanges)
    for item, outcome in zip(exchanges, outcomes, strict=True):
        failure = ItemFailure(error="ModelFailed", message=f"the model failed ({type(error).__name__})")
        assert outcome == failure if item == EVENTS[0] else isinstance(outcome, Assessment)
    await detector.check_health(timeout_s=60)
    await detector.close()


async def test_a_device_that_failed_makes_the_model_ill_for_good_and_memory_for_as_long_as_there_is_none() -> None:
    errors: list[Exception] = [RuntimeError("CUDA out of memory")]
    detector = breaking(errors[0], lambda _: bool(errors))
    with pytest.raises(ModelUnavailableError, match="out of memory"):
        await detector.assess(EVENTS)
    errors.clear()
    await detector.check_health(timeout_s=60)
    await detector.close()

    errors.append(RuntimeError("CUDA error: unspecified launch failure"))
    detector = breaking(errors[0], lambda _: bool(errors))
    with pytest.raises(ModelUnavailableError, match="device failed"):
        await detector.assess(EVENTS)
    errors.clear()
    with pytest.raises(ModelUnavailableError, match="expected a new process"):
        await detector.check_health(timeout_s=60)
    await detector.close()


@given(items=st.lists(st.integers(), min_size=1), poison=st.sets(st.integers()))
def test_a_run_gives_each_item_what_it_gets_alone(items: list[int], poison: set[int]) -> None:
    def compute(run: Sequence[int]) -> list[int]:
        if poison & set(run):
            raise RuntimeError("kernel")
        return [2 * item for item in run]

    alone = [outcome for item in items for outcome in run_or_split([item], compute, revision="m@1")]
    assert run_or_split(items, compute, revision="m@1") == alone

"""Which errors of torch and ONNX Runtime speak of the device: a sick one is an outage, and no fault of a text.

No engine is imported here: what is told apart is told by name and words.
"""

import re

from protector_models.moderation.engine_faults import is_engine_error
from protector_models.moderation.errors import DeviceFailedError, DeviceMemoryError

_MEMORY = re.compile(
    r"out of memory|not enough memory|bad[ _]alloc|alloc_failed|(can't|cannot|could not|failed to) allocate",
    re.IGNORECASE,
)
_DEVICE = re.compile(
    r"\b(CUDA|HIP|CUDNN|CUBLAS\w*|CUSOLVER|CUFFT|NCCL|MPS)\b.*(error|failure|fail|status)"
    r"|\b(CUDA|CUDNN|CUBLAS|CUSOLVER|CUFFT)_(STATUS|ERROR)_|device-side assert|illegal memory access|no kernel image",
    re.IGNORECASE | re.DOTALL,
)


def find_device_failure(error: BaseException, *, revision: str) -> DeviceMemoryError | DeviceFailedError | None:
    """Return the outage that an error speaks of: memory that does not suffice, or a device that failed; None: neither.

    Args:
        error: raised while a model computed.
        revision: of the model, for the message, which never has the error's own text.
    """
    if isinstance(error, MemoryError):
        return _out_of_memory(error, revision)
    if not is_engine_error(error):
        return None
    name, words = type(error).__name__, str(error)
    if name == "OutOfMemoryError" or _MEMORY.search(words):
        return _out_of_memory(error, revision)
    if name in ("AcceleratorError", "DeviceReset", "EPFail") or _DEVICE.search(words):
        return DeviceFailedError(f"{revision}: the device failed ({name})")
    return None


def _out_of_memory(error: BaseException, revision: str) -> DeviceMemoryError:
    return DeviceMemoryError(f"{revision}: out of memory ({type(error).__name__})")

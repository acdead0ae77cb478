"""Errors of the engines that models compute with, told by name: none of them is imported here."""

_ENGINES = ("torch", "onnxruntime")


def is_engine_error(error: BaseException) -> bool:
    """Tell whether torch or ONNX Runtime raised an error; both leave open whether what they were given is at fault.

    Torch raises plain RuntimeErrors, ONNX Runtime classes of its own that have no common base.
    """
    return type(error) is RuntimeError or type(error).__module__.split(".")[0] in _ENGINES

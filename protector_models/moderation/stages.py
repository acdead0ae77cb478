"""The stages of the path, and how far each got."""

from enum import StrEnum


class Stage(StrEnum):
    """Where in the path a conversation is, or where it failed."""

    DECODE = "decode"
    """Bytes become an event."""
    IMAGES = "images"
    """Images are fetched and read."""
    GENERATE = "generate"
    """The MLLM answers an event without a response."""
    ASSESS = "assess"
    """The detector reads the response, and the policy decides."""
    REWRITE = "rewrite"
    """Texts are made to stand in for the response. One that cannot be made, or not be released, is no failure: the
    next way is tried, and in the end the event goes to review. A failure here is a fault that nobody foresaw."""
    VERIFY = "verify"
    """The detector reads such a text. A failure here is, again, a fault that nobody foresaw."""
    PUBLISH = "publish"
    """The verdict becomes bytes and goes out."""


class StageStatus(StrEnum):
    """How far a stage got. `skipped`: it was not needed. `failed` never means safe."""

    COMPLETE = "complete"
    PARTIAL = "partial"
    SKIPPED = "skipped"
    FAILED = "failed"

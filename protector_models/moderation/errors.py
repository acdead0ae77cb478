"""The error tree.

WeirError
├── ConfigurationError              a setting, policy or file that cannot be used; the process should not start
│   ├── CheckpointError             a folder of weights among them
│   └── PolicyFileError             a file that is no policy; it has all that is wrong with it
├── InvalidEventError               bytes that are not a conversation event; permanent
├── UnforeseenError                 a fault of the program in some stage of moderation; put down to the event at fault
├── UnansweredError                 one conversation that the MLLM cannot answer while somebody reads along; permanent
│   └── RefusedByModelError         since it refuses what was asked, or how
├── PieceNotJudgedError             a piece of an answer that goes out while it is written; nothing more of it goes out
├── ImageFetchError                 one image that could not be had; the image stage makes a value of it
│   └── _TryAgainError              and that may be had a moment later
├── DependencyError                 something outside is dead or too slow; transient, the caller may try the batch again
│   ├── ModelUnavailableError       a detector, detoxifier or MLLM
│   │   ├── IncompleteError         for some items of a batch; it holds what the others got
│   │   ├── EndlessComputationError what it computes does not end; a new process may mend it
│   │   ├── OccupiedError           a process of one works on one call alone
│   │   └── SuspectBatchError       perhaps because of something in the batch; asked for each item alone, it shows
│   │       ├── LateError           it took too long, from its turn on
│   │       ├── DeviceMemoryError   the memory of its device does not suffice
│   │       ├── DeviceFailedError   its device failed; a new process may mend it
│   │       └── ReplicaDiedError    its process died
│   └── BrokerUnavailableError      the message broker
│       └── FencedError             another process has our partitions or our name; what is in flight is to be dropped
├── RefusedRecordsError             records that the broker will never take; each becomes a dead letter
├── RunawayDeadLettersError         so many dead letters that something else must be wrong
├── RefusedRequestError             a request over HTTP that is not answered; the caller is told why
├── CallError                       a call of the client that has no result; its subclasses say why
├── ConsumerStuckError              a stream consumer does not poll any more; a new one may
├── ConsumerStoppedError            a stream consumer gave up; `weir serve` ends
└── BenchmarkError                  what a benchmark compares is not equal

Errors of this file are raised in several packages; the others stand beside what raises them. What follows for the exit
status of a command is one table, beside the commands.

Every error reaches `super().__init__` with all its arguments, so that it survives pickling between processes.
"""

from collections.abc import Sequence
from typing import ClassVar


class WeirError(Exception):
    """The root of all errors that Weir raises on purpose."""


class ConfigurationError(WeirError):
    """A setting, policy or file that cannot be used. The message names it, its value and what was expected."""


class InvalidEventError(WeirError):
    """Bytes that are not a conversation event. The message names the field and what was expected, never the content."""


class UnforeseenError(WeirError):
    """A fault that nobody foresaw, in some stage of moderation; the fault itself is the cause.

    Args: the stage's name, and the class of the fault. The fault's own text is left out: it may quote the conversation.
    """


class UnansweredError(WeirError):
    """One conversation that the MLLM cannot answer, where the answer is read as it is written.

    Elsewhere such a failure is a value. The message names it and what was expected, never the content.
    """


class RefusedByModelError(UnansweredError):
    """What was asked of the MLLM is nothing that it answers; another request may be."""


class DependencyError(WeirError):
    """Something outside is dead or too slow. Nothing was decided; the same call may be made again."""

    waited_s: float = 0.0
    """So long was waited for it before this was raised, by whoever has patience within the call."""


class ModelUnavailableError(DependencyError):
    """A model did not answer within its deadline, or its process died."""


class EndlessComputationError(ModelUnavailableError):
    """What a model computes in this process does not end, and nothing but the end of the process gives it back."""


class IncompleteError(ModelUnavailableError):
    """A model gave outcomes for some items of a batch, and none for the others: these alone need be asked again."""

    def __init__(self, cause: ModelUnavailableError, outcomes: Sequence[object | None]) -> None:
        """Keep what there is.

        Args:
            cause: why some have none.
            outcomes: as the call would have returned them, None where there is none.
        """
        super().__init__(cause, outcomes)
        self.cause = cause
        self.outcomes = outcomes
        self.waited_s = cause.waited_s

    def __str__(self) -> str:
        """Say why some have none; outcomes may quote conversations."""
        return str(self.cause)


class SuspectBatchError(ModelUnavailableError):
    """A model broke off on a batch, perhaps because of something in it."""

    conviction: ClassVar[str] = "BreaksTheModel"
    """The class of error of an item that turns out to be why."""


class LateError(SuspectBatchError):
    """A model worked at a call, or was asked one request, for longer than it may; waiting for the turn is no part."""

    conviction = "OutlastsTheDeadline"


class DeviceMemoryError(SuspectBatchError):
    """The memory of the device does not suffice for what was asked at once."""

    conviction = "OutgrowsTheDevice"


class DeviceFailedError(SuspectBatchError):
    """The device failed while it computed, and will go on failing in this process."""

    conviction = "BreaksTheDevice"


class BrokerUnavailableError(DependencyError):
    """The message broker could not be reached, or refused for now."""

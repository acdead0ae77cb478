"""The error tree.

WeirError
├── ConfigurationError          a setting, policy or file that cannot be used; the process should not start
├── InvalidEventError           bytes that are not a conversation event; permanent
├── UnansweredError             one conversation that the MLLM cannot answer while somebody reads along; permanent
└── DependencyError             something outside is dead or too slow; transient, the caller may try the batch again
    ├── ModelUnavailableError   a detector, detoxifier or MLLM
    └── BrokerUnavailableError  the message broker

Every error reaches `super().__init__` with all its arguments, so that it survives pickling between processes.
"""


class WeirError(Exception):
    """The root of all errors that Weir raises on purpose."""


class ConfigurationError(WeirError):
    """A setting, policy or file that cannot be used. The message names it, its value and what was expected."""


class InvalidEventError(WeirError):
    """Bytes that are not a conversation event. The message names the field and what was expected, never the content."""


class UnansweredError(WeirError):
    """One conversation that the MLLM cannot answer, where the answer is read as it is written.

    Elsewhere such a failure is a value. The message names it and what was expected, never the content.
    """


class DependencyError(WeirError):
    """Something outside is dead or too slow. Nothing was decided; the same call may be made again."""


class ModelUnavailableError(DependencyError):
    """A model did not answer within its deadline, or its process died."""


class BrokerUnavailableError(DependencyError):
    """The message broker could not be reached, or refused for now."""

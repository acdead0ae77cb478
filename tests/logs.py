"""Keeps what a process configures for its logs from the tests that follow."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import structlog


@contextmanager
def logs_of_its_own() -> Iterator[None]:
    """Let `configure_logs` be called within; afterwards everything is as it was."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    root.handlers = []
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(level)
        structlog.reset_defaults()

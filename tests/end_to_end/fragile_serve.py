"""`weir serve` as a program with the fragile detector; SIGUSR1 deploys everything anew, with its successor."""

import signal
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import FrameType
from unittest.mock import patch

import structlog

from pipelines.application import deployment
from pipelines.commands.serve import serve
from pipelines.settings import load_settings
from services.deployments.model_rows import DETECTOR, MODEL_ROWS
from tests.end_to_end.fragile_detector import load_fragile

_log = structlog.get_logger(__name__)

FIRST, SECOND = "fragile@1", "fragile@2"
UPDATED = "everything is deployed anew"
"""Is said once an update is over."""


def _put_in_place(revision: str) -> None:
    """Let the application be deployed with this revision from now on."""
    row = replace(DETECTOR, bind_load=lambda _: partial(load_fragile, revision))
    rows = tuple(row if one is DETECTOR else one for one in MODEL_ROWS)
    patch.object(deployment, "MODEL_ROWS", rows).start()


def main(config: Path) -> None:
    """Serve until the process is told to stop."""

    def update() -> None:
        _put_in_place(SECOND)
        deployment.run(load_settings(config))
        _log.info(UPDATED)

    def begin_update(_signal: int, _frame: FrameType | None) -> None:
        # The main thread goes on watching, and may be told to stop meanwhile.
        threading.Thread(target=update, daemon=True).start()

    signal.signal(signal.SIGUSR1, begin_update)
    _put_in_place(FIRST)
    serve(config, create_topics=None, status_interval_s=5.0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

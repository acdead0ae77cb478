"""Runs a LiteLLM proxy for each configuration, in LiteLLM's own environment: PORT CONFIG [PORT CONFIG ...].

They are forks of one process: to import LiteLLM takes most of the time.
"""

import os
import sys

import litellm.proxy.proxy_server  # type: ignore[import-not-found]  # noqa: F401
from litellm.proxy.proxy_cli import run_server  # type: ignore[import-not-found]


def main(arguments: list[str]) -> None:
    """Start them, and wait until they end."""
    for port, config in zip(arguments[::2], arguments[1::2], strict=True):
        if os.fork() == 0:
            run_server(["--host", "127.0.0.1", "--port", port, "--config", config])
            return
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    main(sys.argv[1:])

"""Distributes tests over processes: how many there are, and which tests stay together in one of them."""

import os
from pathlib import Path

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]  # no type information
from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped]  # no type information

_MAX_WORKERS = 4
"""Each imports everything and loads the models of its tests: about a gigabyte and ten seconds."""

_SERVERS = ("ray", "kafka")
"""Marks of tests that share a server: they go to one worker, which starts it once. A Redis starts in no time."""


class ServersAndFiles(LoadGroupScheduling):  # type: ignore[misc]  # the base class is untyped
    """Gives a worker all tests of a group, and, where a test has none, all tests of its file."""

    def _split_scope(self, nodeid: str) -> str:
        group: str = super()._split_scope(nodeid)
        return group if group != nodeid else nodeid.split("::", 1)[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ServersAndFiles:
    """Keep together what shares something."""
    return ServersAndFiles(config, log)


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return one worker a core, and none for a few files: their tests end before workers would have started."""
    only_files = all(Path(name.split("::")[0]).is_file() for name in config.args)
    num_workers = min(len(os.sched_getaffinity(0)), _MAX_WORKERS)
    return 0 if only_files or num_workers == 1 else num_workers


def _server_of(item: pytest.Item) -> str | None:
    return next((mark for mark in _SERVERS if item.get_closest_marker(mark)), None)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Name the server that a test shares as its group, and let these groups begin, as they take longest."""
    for item in items:
        if server := _server_of(item):
            item.add_marker(pytest.mark.xdist_group(server))
    items.sort(key=lambda item: _server_of(item) is None)

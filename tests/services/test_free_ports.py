"""Free ports: what listens is not given away, and nothing takes one between its finding and its use."""

import socket
from pathlib import Path

import pytest

from services import free_ports as module
from services.free_ports import free_ports

_OUTGOING = Path("/proc/sys/net/ipv4/ip_local_port_range")


def test_they_differ_and_a_server_can_listen_at_each() -> None:
    ports = free_ports(3)
    assert len(set(ports)) == 3
    for port in ports:
        socket.create_server(("0.0.0.0", port)).close()


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_a_port_that_something_listens_on_is_not_given(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    (first,) = free_ports(1)
    monkeypatch.setattr(module, "_PORTS", range(first, first + 1))
    with socket.create_server((host, first)), pytest.raises(OSError, match="found 0"):
        free_ports(1)
    assert free_ports(1) == [first]


@pytest.mark.skipif(not _OUTGOING.exists(), reason="the kernel does not say which ports outgoing connections get")
def test_no_outgoing_connection_gets_one() -> None:
    lowest = int(_OUTGOING.read_text().split()[0])
    assert all(port < lowest for port in free_ports(100))

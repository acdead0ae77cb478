"""Free ports for servers that are started on this machine, where nothing else takes them before they listen."""

import random
import socket
from itertools import islice

_PORTS = range(20_000, 30_000)
"""Below the ports that Linux gives to outgoing connections (32768 and up), between those that Ray gives to its workers
(10002 to 19999) and to its replicas (30000 and up): a port that was free when it was asked for would else often be
taken by one of those before the server that it is for has started."""

_random = random.SystemRandom()
"""Two processes that draw at the same time draw different ones, whatever seeds they were given."""


def free_ports(number: int) -> list[int]:
    """Return as many ports as asked for, all different, that nothing on this machine listens on.

    Raises:
        OSError: so many are not free.
    """
    free = (port for port in _random.sample(_PORTS, len(_PORTS)) if _is_free(port))
    ports = list(islice(free, number))
    if len(ports) < number:
        raise OSError(f"expected {number} free ports between {_PORTS.start} and {_PORTS.stop - 1}, found {len(ports)}")
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # A server binds like this too: what a closed connection leaves behind does not count, a listener does.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("0.0.0.0", port))  # noqa: S104  # nothing is served; a server of any address would be in the way
        except OSError:
            return False
        return True

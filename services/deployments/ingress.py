"""Ray Serve's two ingresses, its Python proxy and HAProxy: one is chosen before Ray starts, for as long as it runs.

Ray Serve reads the choice from variables of the environment, in each of its processes.
"""

import math
import os

from protector_models.moderation.errors import ConfigurationError
from services.http.settings import HttpSettings, Ingress, is_loopback

HAPROXY_VARIABLE = "RAY_SERVE_ENABLE_HA_PROXY"

_INGRESSES: dict[str, Ingress] = {"0": "proxy", "1": "haproxy"}
_READY_S = 60
"""How long HAProxy may take to start: 5 s, as Ray has it, are too few on a busy machine."""
_DRAIN_S = 2
"""How long a replica that stops goes on taking requests; HAProxy learns of it within about a second. Ray counts every
application's first deployment in, models too, and these stop one after the other."""
_LEAST_HARD_STOP_S = 120
_HARD_STOP_MARGIN_S = 10


def ingress_here() -> Ingress:
    """Return what this process has for its ingress, or would have if Ray were started by it."""
    return _INGRESSES.get(os.environ.get(HAPROXY_VARIABLE, "0"), "proxy")


def choose_ingress(http: HttpSettings) -> None:
    """Have the Ray that this process starts next use the ingress that is configured.

    What else of HAProxy's variables somebody has set, stays.

    Raises:
        ConfigurationError: the environment asks for the other one.
    """
    if HAPROXY_VARIABLE in os.environ and http.ingress != ingress_here():
        raise ConfigurationError(
            f"http.ingress: expected {ingress_here()!r}, since the environment has {HAPROXY_VARIABLE}="
            f"{os.environ[HAPROXY_VARIABLE]!r}, got {http.ingress!r}"
        )
    if http.ingress == "proxy":
        return
    # One that took over from an old HAProxy ends it after so long, and what it still had in hand with it.
    longest_s = max(http.deadline_s, http.chat.deadline_s)
    hard_stop_s = max(_LEAST_HARD_STOP_S, math.ceil(longest_s) + _HARD_STOP_MARGIN_S)
    variables = {
        HAPROXY_VARIABLE: 1,
        "RAY_SERVE_HAPROXY_STATS_PORT": http.haproxy.stats_port,
        "RAY_SERVE_HAPROXY_METRICS_PORT": http.haproxy.metrics_port,
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": _READY_S,
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": _DRAIN_S,
        "RAY_SERVE_HAPROXY_HARD_STOP_AFTER_S": hard_stop_s,
    }
    for name, value in variables.items():
        os.environ.setdefault(name, str(value))


def require_ingress(http: HttpSettings) -> None:
    """Refuse, in a replica of the front, a Ray that was started with another ingress, or that lets everybody in.

    Raises:
        ConfigurationError: it is one.
    """
    if http.ingress != ingress_here():
        raise ConfigurationError(
            f"http.ingress: expected {ingress_here()!r}, which the Ray that runs was started with "
            f"({HAPROXY_VARIABLE}), got {http.ingress!r}"
        )
    # To a replica all that comes through HAProxy comes from this machine.
    if http.ingress == "haproxy" and not http.keys and not is_loopback(_find_host() or ""):
        raise ConfigurationError(
            "http.keys: expected keys, since HAProxy listens beyond this machine and hides who calls, got none"
        )


def _find_host() -> str | None:
    """Return the address that Serve was told to listen at; None: at all, as far as is known."""
    # Imported here, not above: only a replica behind HAProxy has a Serve to ask.
    from ray.serve.context import _get_global_client  # noqa: PLC0415

    client = _get_global_client()
    host: str | None = None if client is None else client.http_config.host
    return host

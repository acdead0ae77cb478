"""Around every request: its id, its time, its count, one line of log without content."""

import re
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from protector_models.moderation.ports import Metrics

_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
CLIENT_GONE = 499
"""What is counted where nobody waits for an answer."""

_log = structlog.get_logger(__name__)


class Reception:
    """The outermost part of the application. What is raised within was answered there, and no log has its words."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        metrics: Metrics,
        sends_request_id: bool,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Put it around an application.

        Args:
            app: answers.
            metrics: counts requests.
            sends_request_id: whether answers get the header x-request-id here; Ray Serve adds it itself.
            clock: seconds that never go back.
        """
        self._app = app
        self._metrics = metrics
        self._sends_request_id = sends_request_id
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run a request through the application."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s, request_id, status = self._clock(), _find_id(scope), None
        answer_headers: dict[str, str] = {}
        scope.setdefault("state", {}).update(request_id=request_id, code="", answer_headers=answer_headers)

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["openai-processing-ms"] = str(self._milliseconds_since(began_s))
                headers["x-content-type-options"] = "nosniff"
                headers.update(answer_headers)
                if self._sends_request_id:
                    headers["x-request-id"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception as error:  # noqa: BLE001  (answered within; raised further, its words would be logged)
            tell_fault(error, request_id)
        finally:
            self._count(scope, status or CLIENT_GONE, began_s)

    def _count(self, scope: Scope, status: int, began_s: float) -> None:
        state, route = scope["state"], getattr(scope.get("route"), "path", "unknown")
        self._metrics.count("weir_http_requests_total", route=route, status=str(status), code=state["code"])
        _log.debug(
            "request",
            request_id=state["request_id"],
            route=route,
            status=status,
            code=state["code"],
            milliseconds=self._milliseconds_since(began_s),
        )

    def _milliseconds_since(self, began_s: float) -> int:
        return round((self._clock() - began_s) * 1_000)


def _find_id(scope: Scope) -> str:
    """Return the request's id: the one it came with, where that is one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _ID.fullmatch(given) else f"req_{uuid4().hex}"


def tell_fault(error: Exception, request_id: str) -> None:
    """Log a fault of the program."""
    # Without the fault's own text, which may quote the request.
    place = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{Path(place.filename).name}:{place.lineno} ({place.name})"
    _log.error("unexpected error", request_id=request_id, error=type(error).__name__, place=where)

"""Errors of calls over HTTP: a class for each status, with the front's code and the request's id, never with content.

CallError
├── OutOfTimeError          no answer within the time of the call
├── UnreachableError        no connection, or one that broke off            tried again
├── UnreadableAnswerError   an answer that is none of the front's
└── RefusedCallError        the front refused, and says why
    ├── BadCallError        400, and 422 for an idempotency key of another request
    ├── UnknownKeyError     401
    ├── ForbiddenError      403
    ├── NotFoundError       404, 405
    ├── SlowBodyError       408
    ├── KeyInUseError       409                                             tried again
    ├── TooLargeError       413, 415
    ├── NotJudgedError      422: treat what was sent as harmful
    ├── OverloadedError     429                                             tried again
    ├── FrontFaultError     500 and any other
    └── UnavailableError    503                                             tried again
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import httpx
from pydantic import ValidationError

from protector_models.endpoints.busy_servers import read_retry_after
from protector_models.moderation.errors import WeirError
from services.http.refusals import STATUSES, ErrorBody, ErrorEnvelope

_KEY_REUSED = "idempotency_key_reused"
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")


class CallError(WeirError):
    """A call that has no result. Nothing is known then of what was sent; above all not that it is harmless."""


class OutOfTimeError(CallError):
    """There was no answer within the time of the call."""


class UnreachableError(CallError):
    """Nobody answers at the address, or the connection broke off before the answer was whole."""

    retry_after_s: float | None = None


class UnreadableAnswerError(CallError):
    """An answer that is not the front's: something else listens there, or stands between."""


class RefusedCallError(CallError):
    """The front did not do what was asked. Each status is a subclass."""

    def __init__(
        self,
        message: str,
        status: int,
        code: str | None = None,
        param: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        """Say why.

        Args:
            message: the front's own, which quotes nothing of the request.
            status: of the answer.
            code: one of those that `docs/http.md` lists; None where something else has answered.
            param: what of the request it is about.
            request_id: by which the front's log knows the request.
            retry_after_s: how long the front asks to wait.
        """
        super().__init__(message, status, code, param, request_id, retry_after_s)
        self.message = message
        self.status = status
        self.code = code
        self.param = param
        self.request_id = request_id
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        """Say status, code and reason, and the request's id."""
        code = f" {self.code}" if self.code else ""
        request = f" (request {self.request_id})" if self.request_id else ""
        return f"{self.status}{code}: {self.message}{request}"


class BadCallError(RefusedCallError):
    """The request has to be changed."""


class UnknownKeyError(RefusedCallError):
    """The front does not know the API key, or wants one."""


class ForbiddenError(RefusedCallError):
    """The key is another tenant's, or this machine may not call."""


class NotFoundError(RefusedCallError):
    """There is no such call, or no such model."""


class SlowBodyError(RefusedCallError):
    """The request's body took too long to come."""


class KeyInUseError(RefusedCallError):
    """A request with the same idempotency key is in work."""


class TooLargeError(RefusedCallError):
    """The request's body is larger than the front takes, or of another type."""


class NotJudgedError(RefusedCallError):
    """Something in it cannot be judged: treat it as harmful, since trying again will not help."""


class OverloadedError(RefusedCallError):
    """Too much at once, for the front or for the tenant."""


class UnavailableError(RefusedCallError):
    """A model is away, or the models are not up yet."""


class FrontFaultError(RefusedCallError):
    """A fault of the front, or a status that it never gives."""


_BY_STATUS: Mapping[int, type[RefusedCallError]] = {
    400: BadCallError,
    401: UnknownKeyError,
    403: ForbiddenError,
    404: NotFoundError,
    405: NotFoundError,
    408: SlowBodyError,
    409: KeyInUseError,
    413: TooLargeError,
    415: TooLargeError,
    422: NotJudgedError,
    429: OverloadedError,
    503: UnavailableError,
}

PASSING = (UnreachableError, KeyInUseError, OverloadedError, UnavailableError)
"""What may be over the next time: such a call is made again. It may be, as no call changes anything."""


def refusal_of(status: int, headers: httpx.Headers, body: bytes) -> RefusedCallError:
    """Return the error that an answer is; what others than the front have written is not repeated.

    Args:
        status: any but 200.
        headers: of the answer.
        body: of the answer.
    """
    error = _read_error(status, body)
    request_id = headers.get("x-request-id", "")
    kind = _BY_STATUS.get(status, FrontFaultError)
    if error is not None and error.code == _KEY_REUSED:
        kind = BadCallError
    return kind(
        "no reason that could be read" if error is None else error.message,
        status,
        code=None if error is None else error.code,
        param=None if error is None else error.param,
        request_id=request_id if _ID.fullmatch(request_id) else None,
        retry_after_s=read_retry_after(headers.get("retry-after", ""), datetime.now(UTC)),
    )


def _read_error(status: int, body: bytes) -> ErrorBody | None:
    """Return the front's error; None where a body is not one, or has not the status of its code."""
    try:
        error = ErrorEnvelope.model_validate_json(body, extra="ignore").error
    except ValidationError:
        return None
    return error if STATUSES.get(error.code or "") == status else None

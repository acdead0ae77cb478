"""How requests are refused: one table from codes to statuses, and OpenAI's envelope around every error."""

from collections.abc import Mapping
from http import HTTPStatus

from pydantic import BaseModel, ConfigDict
from pydantic_core import to_json

from protector_models.moderation.errors import (
    DependencyError,
    InvalidEventError,
    RefusedByModelError,
    UnansweredError,
    WeirError,
)
from protector_models.moderation.held_back import PieceNotJudgedError
from protector_models.moderation.outages import MODEL_UNAVAILABLE
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Failure

STATUSES: Mapping[str, HTTPStatus] = {
    # What the caller has to change.
    "invalid_json": HTTPStatus.BAD_REQUEST,
    "invalid_value": HTTPStatus.BAD_REQUEST,
    "invalid_event": HTTPStatus.BAD_REQUEST,
    "too_many_items": HTTPStatus.BAD_REQUEST,
    "refused_by_model": HTTPStatus.BAD_REQUEST,
    "invalid_api_key": HTTPStatus.UNAUTHORIZED,
    "not_from_this_machine": HTTPStatus.FORBIDDEN,
    "tenant_mismatch": HTTPStatus.FORBIDDEN,
    "unknown_url": HTTPStatus.NOT_FOUND,
    "model_not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "body_too_slow": HTTPStatus.REQUEST_TIMEOUT,
    "idempotency_key_in_use": HTTPStatus.CONFLICT,
    "body_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "unsupported_media_type": HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    "idempotency_key_reused": HTTPStatus.UNPROCESSABLE_ENTITY,
    # Something in it cannot be judged. A gateway that lets outages pass must not let this pass.
    "not_judged": HTTPStatus.UNPROCESSABLE_ENTITY,
    # Too much at once: no outage either, or a flood would open such a gateway.
    "overloaded": HTTPStatus.TOO_MANY_REQUESTS,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    # A fault in the program.
    "internal_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    # What may be there the next time.
    "invalid_answer": HTTPStatus.BAD_GATEWAY,
    "not_ready": HTTPStatus.SERVICE_UNAVAILABLE,
    "model_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "deadline_passed": HTTPStatus.SERVICE_UNAVAILABLE,
}
"""Every code that an error may have, and its status."""

_TYPES: Mapping[int, str] = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
}
_RETRY_AFTER_S: Mapping[str, int] = {
    "idempotency_key_in_use": 1,
    "overloaded": 1,
    "not_ready": 2,
    "model_unavailable": 2,
    "deadline_passed": 1,
}
"""After how many seconds it is worth trying again."""


# Without the error's own words: they name what runs behind the front.
_REFUSALS: Mapping[type[Exception], tuple[str, str]] = {
    RefusedByModelError: ("refused_by_model", "the MLLM refuses such a request"),
    UnansweredError: ("invalid_answer", "the MLLM failed, or what it wrote is no answer"),
    DependencyError: ("model_unavailable", "a model is away or busy; nothing was decided"),
    Exception: ("internal_error", "a fault in the program; nothing was decided"),
}
"""The code and the message for kinds of errors; the first that fits."""


class RefusedRequestError(WeirError):
    """A request that is not answered. The message says what was expected, and quotes nothing of the request."""

    def __init__(self, code: str, message: str, param: str | None = None, retry_after_s: int | None = None) -> None:
        """Refuse.

        Args:
            code: one of `STATUSES`.
            message: for the caller.
            param: what of the request it is about, by names that this project gives.
            retry_after_s: after how many seconds it is worth trying again; None: what the code always has.
        """
        super().__init__(code, message, param, retry_after_s)
        self.code = code
        self.message = message
        self.param = param
        self.retry_after_s = _RETRY_AFTER_S.get(code) if retry_after_s is None else retry_after_s

    def __str__(self) -> str:
        """Say what was expected."""
        return self.message


class ErrorBody(BaseModel):
    """An error, as OpenAI's clients read it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorEnvelope(BaseModel):
    """What is answered instead of a result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    error: ErrorBody


def to_error(refusal: RefusedRequestError) -> ErrorBody:
    """Return the error that a refusal is."""
    status = STATUSES[refusal.code]
    kind = "server_error" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "invalid_request_error"
    return ErrorBody(message=refusal.message, type=_TYPES.get(status, kind), param=refusal.param, code=refusal.code)


def write_refusal(refusal: RefusedRequestError) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body of the answer to a request that is refused."""
    status, headers = STATUSES[refusal.code], {}
    if refusal.retry_after_s is not None:
        headers["retry-after"] = str(refusal.retry_after_s)
    if status is HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return int(status), headers, to_json(ErrorEnvelope(error=to_error(refusal)))


def refuse_for(error: Exception) -> RefusedRequestError:
    """Return the refusal that an error of the Moderator, of the MLLM, or of the program, is to the caller."""
    match error:
        case RefusedRequestError():
            return error
        case PieceNotJudgedError():
            return refuse_failed(error.failure)
        case InvalidEventError():
            return RefusedRequestError("invalid_event", str(error))
    code, message = next(refusal for kind, refusal in _REFUSALS.items() if isinstance(error, kind))
    return RefusedRequestError(code, message)


def refuse_failed(failure: Failure, param: str | None = None) -> RefusedRequestError:
    """Return the refusal that the failure of one event is."""
    if failure.stage is Stage.DECODE:
        return RefusedRequestError("invalid_event", failure.message, param)
    if failure.error == MODEL_UNAVAILABLE:
        return _refuse_outage()
    return RefusedRequestError("not_judged", f"{failure.stage.value}: {failure.error}: {failure.message}", param)


def _refuse_outage() -> RefusedRequestError:
    return RefusedRequestError(*_REFUSALS[DependencyError])

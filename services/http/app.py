"""The application: routes that let a call in, translate, and answer. Any ASGI server runs it."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import cache, partial
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import WeirError
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.ports import Metrics
from protector_models.moderation.verdict import ModeratedConversation
from services.http import chat_moderations, conversations, litellm_guardrail, moderations
from services.http.bodies import ClientGoneError
from services.http.chat_moderations import ChatModerationRequest, moderate_conversations
from services.http.conversations import EventBatch, ModeratedBatch, moderate_events
from services.http.deadlines import seconds_of_silence
from services.http.door import Door
from services.http.guarded_chat import completions
from services.http.guarded_chat.answers import ChatCompletion
from services.http.guarded_chat.completions import GuardedChat
from services.http.guarded_chat.event_stream import EVENT_SCHEMA, EventStream
from services.http.guarded_chat.requests import ChatCompletionRequest
from services.http.idempotency import Idempotency
from services.http.litellm_guardrail import GuardrailAnswer, GuardrailRequest, guard
from services.http.moderations import ModerationRequest, moderate_inputs
from services.http.moderators import Readiness
from services.http.openapi import Bodies, describe, error_responses
from services.http.policies import PolicyList, list_policies
from services.http.reception import CLIENT_GONE, Reception
from services.http.refusals import RefusedRequestError, refuse_for, write_refusal
from services.http.results import ModerationAnswer
from services.http.settings import ChatSettings, HttpSettings
from services.stores.charges import Charges, MemoryCharges

_JSON = "application/json"
_REFUSED_AT_THE_DOOR = (
    *("invalid_json", "invalid_value", "too_many_items", "invalid_api_key", "not_from_this_machine", "body_too_slow"),
    *("body_too_large", "unsupported_media_type", "not_judged", "overloaded", "internal_error", "not_ready"),
    *("rate_limited", "model_unavailable", "deadline_passed"),
)
_BODIES: Mapping[str, Bodies] = {
    moderations.ROUTE: ModerationRequest,
    chat_moderations.ROUTE: ChatModerationRequest,
    conversations.ROUTE: (ConversationEvent, EventBatch),
    completions.ROUTE: ChatCompletionRequest,
    litellm_guardrail.ROUTE: GuardrailRequest,
}


class Health(BaseModel):
    """That it is well."""

    status: str


@asynccontextmanager
async def _nothing_beside() -> AsyncIterator[None]:
    yield


def build_app(
    *,
    settings: HttpSettings,
    policy: Policy,
    readiness: Readiness,
    metrics: Metrics,
    charges: Charges | None = None,
    beside: Callable[[], AbstractAsyncContextManager[None]] = _nothing_beside,
    sends_request_id: bool = True,
) -> ASGIApp:
    """Put the application together.

    Args:
        settings: who may call, how much, how long.
        policy: the one that is shown until the models are up; then it is the one that the moderators have.
        readiness: gets the moderators once they are up.
        metrics: counts calls and results.
        charges: count what tenants ask for; None: of this application alone.
        beside: runs for as long as the application does.
        sends_request_id: whether answers get the header x-request-id; Ray Serve adds it itself.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with beside():
            yield

    app = FastAPI(
        title="Weir",
        description="Moderation of conversations with multimodal language models.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.openapi = cache(partial(describe, app, _BODIES))  # type: ignore[method-assign]  # as FastAPI says it is changed
    _add_errors(app)
    _add_pages(app, policy, readiness, door := Door(settings, charges or MemoryCharges(clock=time.monotonic)))
    _add_chat(app, readiness, door, settings=settings.chat, metrics=metrics)
    _add_calls(app, readiness, door, max_items=settings.max_items, metrics=metrics)
    return Reception(app, metrics=metrics, sends_request_id=sends_request_id)


def _add_calls(app: FastAPI, readiness: Readiness, door: Door, *, max_items: int, metrics: Metrics) -> None:
    idempotency = Idempotency()

    @app.post(
        moderations.ROUTE,
        summary="Judge texts and images, each for itself.",
        response_model=ModerationAnswer,
        responses=error_responses(*_REFUSED_AT_THE_DOOR, "model_not_found"),
    )
    async def judge_inputs(request: Request) -> Response:
        async with door.admit(request) as visit:
            answer = await moderate_inputs(visit, readiness.require(), max_items=max_items, metrics=metrics)
            return Response(answer, media_type=_JSON)

    @app.post(
        chat_moderations.ROUTE,
        summary="Judge the assistant's last turn in conversations.",
        response_model=ModerationAnswer,
        responses=error_responses(*_REFUSED_AT_THE_DOOR, "model_not_found"),
    )
    async def judge_conversations(request: Request) -> Response:
        async with door.admit(request) as visit:
            answer = await moderate_conversations(visit, readiness.require(), max_items=max_items, metrics=metrics)
            return Response(answer, media_type=_JSON)

    @app.post(
        conversations.ROUTE,
        summary="Moderate events of the wire format: one, or several.",
        response_model=ModeratedConversation | ModeratedBatch,
        responses=error_responses(
            *_REFUSED_AT_THE_DOOR,
            *("invalid_event", "tenant_mismatch", "idempotency_key_in_use", "idempotency_key_reused"),
        ),
        openapi_extra={
            "parameters": [
                _parameter("shadow", "query", {"type": "boolean", "default": False}),
                _parameter("Idempotency-Key", "header", {"type": "string", "minLength": 1, "maxLength": 255}),
            ]
        },
    )
    async def moderate_them(request: Request) -> Response:
        async with door.admit(request) as visit:
            answer = await moderate_events(
                visit, readiness.require(), idempotency, max_items=max_items, metrics=metrics
            )
            headers = {"idempotent-replayed": "true"} if answer.is_repeated else {}
            return Response(answer.body, media_type=_JSON, headers=headers)

    @app.post(
        litellm_guardrail.ROUTE,
        summary="Judge a request or an answer for LiteLLM, a stream as far as it is written.",
        response_model=GuardrailAnswer,
        responses=error_responses(*_REFUSED_AT_THE_DOOR),
    )
    async def guard_for_litellm(request: Request) -> Response:
        async with door.admit(request) as visit:
            answer = await guard(visit, readiness.require(), max_items=max_items, metrics=metrics)
            return Response(answer, media_type=_JSON)


def _add_chat(app: FastAPI, readiness: Readiness, door: Door, *, settings: ChatSettings, metrics: Metrics) -> None:
    guarded = GuardedChat(settings, metrics)

    @app.post(
        completions.ROUTE,
        summary="Have the MLLM answer, and deliver what was judged: whole, or as a stream.",
        response_model=ChatCompletion,
        responses={
            200: {"content": {EventStream.media_type: {"schema": EVENT_SCHEMA}}},
            **error_responses(*_REFUSED_AT_THE_DOOR, "model_not_found", "refused_by_model", "invalid_answer"),
        },
    )
    async def complete_chat(request: Request) -> Response:
        async with AsyncExitStack() as stack:
            visit = await stack.enter_async_context(door.admit(request, most_s=settings.deadline_s))
            answer = await guarded.answer(visit, readiness.require())
            if isinstance(answer, bytes):
                return Response(answer, media_type=_JSON)
            # A stream keeps its place until it ends.
            silence_s = seconds_of_silence(request.headers, most_s=settings.keep_alive_s)
            return EventStream(answer, visit, keep_alive_s=silence_s, leaving=stack.pop_all())


def _add_pages(app: FastAPI, policy: Policy, readiness: Readiness, door: Door) -> None:
    @app.get("/", include_in_schema=False)
    async def landing() -> Response:
        return Response(_landing_page(), media_type="text/html")

    @app.get("/healthz", summary="Whether the process lives.")
    async def healthz() -> Health:
        return Health(status="ok")

    @app.get("/readyz", summary="Whether the models are up.", responses=error_responses("not_ready"))
    async def readyz() -> Health:
        readiness.require()
        return Health(status="ready")

    @app.get(
        "/v1/policies",
        summary="The rules in force.",
        response_model=PolicyList,
        responses=error_responses("invalid_api_key", "not_from_this_machine"),
    )
    async def policies(request: Request) -> Response:
        in_force = policy if readiness.moderators is None else readiness.moderators.policy
        return Response(list_policies(in_force, door.identify(request)).model_dump_json(), media_type=_JSON)


def _add_errors(app: FastAPI) -> None:
    async def refuse(request: Request, error: Exception) -> Response:
        refusal = refuse_for(error)
        request.scope["state"]["code"] = refusal.code
        status, headers, body = write_refusal(refusal)
        return Response(body, status, headers, _JSON)

    async def refuse_route(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = "method_not_allowed" if error.status_code == 405 else "unknown_url"
        answer = await refuse(request, RefusedRequestError(code, "expected a method and a path of /openapi.json"))
        answer.headers.update(error.headers or {})
        return answer

    async def leave(_: Request, __: Exception) -> Response:
        return Response(status_code=CLIENT_GONE)

    app.add_exception_handler(WeirError, refuse)
    app.add_exception_handler(HTTPException, refuse_route)
    app.add_exception_handler(ClientGoneError, leave)
    app.add_exception_handler(Exception, refuse)


def _parameter(name: str, place: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": place, "required": False, "schema": schema}


@cache
def _landing_page() -> str:
    return resources.files("services.http").joinpath("landing.html").read_text(encoding="utf-8")

"""`POST /beta/litellm_basic_guardrail_api`: LiteLLM's generic guardrail, for answers that come whole and for streams.

LiteLLM asks before the model is called (`request`) and about the answer (`response`); of a stream again and again, each
time with all texts so far, and without saying which time is the last. The request has the question, the response has
not: it is remembered in between.
"""

from collections.abc import Awaitable, Callable, Sequence
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue
from pydantic_core import to_json

from protector_models.moderation.conversation import MAX_IDENTIFIER_CHARACTERS, ConversationEvent
from protector_models.moderation.errors import InvalidEventError
from protector_models.moderation.held_back import PieceNotJudgedError
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.one_turn import ANY_TIME
from protector_models.moderation.policy.policy import DEFAULT_TENANT
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import Metrics, Moderates
from protector_models.moderation.verdict import Action, Failure, Verdict
from protector_models.moderation.wire.codec import decode_json
from protector_models.moderation.wire.halving import moderate_isolating
from services.http.bodies import read_json_object, validate
from services.http.call_memory import CallMemory, Recalled, digest_of
from services.http.door import Visit
from services.http.foreseen_answers import ForeseenAnswer, foresee
from services.http.moderations import require_few
from services.http.moderators import Moderators
from services.http.refusals import RefusedRequestError, refuse_failed

ROUTE = "/beta/litellm_basic_guardrail_api"

_MAX_TEXTS = 32
"""Choices of an answer, and images."""


class GuardrailRequest(BaseModel):
    """What LiteLLM asks. Fields that are not here are passed over: each of its versions has some more."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    input_type: Literal["request", "response"]
    """Whether the model is yet to be called, or has answered."""
    litellm_call_id: Annotated[str, Field(min_length=1, max_length=MAX_IDENTIFIER_CHARACTERS)] | None = None
    """The same for a request and all that is asked about its answer."""
    texts: list[str] | None = None
    """All texts of the request; or of the answer, one for each choice, as far as they are written."""
    structured_messages: Annotated[list[JsonValue] | None, Field(json_schema_extra={"items": {"type": "object"}})] = (
        None
    )
    """The messages of the request."""
    images: list[str] | None = None
    """URLs of its images, or of the answer's."""
    tool_calls: Annotated[list[JsonValue] | None, Field(json_schema_extra={"items": {"type": "object"}})] = None
    """The answer's calls of tools."""


class GuardrailAction(StrEnum):
    """What LiteLLM is to do."""

    NONE = "NONE"
    BLOCKED = "BLOCKED"
    INTERVENED = "GUARDRAIL_INTERVENED"


_COUNTED_AS = {
    GuardrailAction.NONE: Action.ALLOW,
    GuardrailAction.INTERVENED: Action.REWRITE,
    GuardrailAction.BLOCKED: Action.BLOCK,
}


class GuardrailAnswer(BaseModel):
    """What LiteLLM is told."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: GuardrailAction
    blocked_reason: str | None = None
    """What the caller is told where it is blocked; nothing of what was said."""
    texts: list[str] | None = None
    """All texts of the answer, in order, where one of them goes out otherwise than it is."""
    stream_holdback_chars: list[int] | None = None
    """Of each text, the characters at its end that may still change: not to be sent on before the last time."""


async def guard(visit: Visit, moderators: Moderators, *, max_items: int, metrics: Metrics) -> bytes:
    """Judge what LiteLLM has in its body, and return what it is told: a `GuardrailAnswer` in JSON.

    Args:
        visit: the call.
        moderators: judge it.
        max_items: texts in one call.
        metrics: counts results, and answers whose question is not known.

    Raises:
        RefusedRequestError: the body is not as expected, or something in it cannot be judged.
        DependencyError: a model is away.
    """
    asked = validate(GuardrailRequest, await read_json_object(visit.body))
    if asked.input_type == "response":
        require_few([*(asked.texts or ()), *(asked.images or ())], max_items=min(max_items, _MAX_TEXTS))
    tenant = visit.tenant or DEFAULT_TENANT
    call = _GuardedCall(
        moderators,
        moderators.policy.for_tenant(tenant),
        CallMemory(moderators.cache, tenant=tenant, call_id=asked.litellm_call_id),
        metrics,
        charge=visit.charge_items,
        name=visit.id,
        tenant=tenant,
        size=len(visit.body),
    )
    judging = call.judge_request(asked) if asked.input_type == "request" else call.judge_response(asked)
    answer = await visit.wait_for(judging)
    metrics.count("weir_http_results_total", route=ROUTE, action=_COUNTED_AS[answer.action].value)
    return to_json(answer, exclude_none=True)


class _GuardedCall:
    """One call of a language model that LiteLLM makes, of whatever of it is asked about."""

    def __init__(
        self,
        moderators: Moderators,
        rules: TenantRules,
        memory: CallMemory,
        metrics: Metrics,
        *,
        charge: Callable[[int], Awaitable[None]],
        name: str,
        tenant: str,
        size: int,
    ) -> None:
        self._moderators = moderators
        self._rules = rules
        self._memory = memory
        self._metrics = metrics
        self._charge = charge
        self._name = name
        self._tenant = tenant
        self._size = size
        """Bytes of what is at hand."""

    async def judge_request(self, asked: GuardrailRequest) -> GuardrailAnswer:
        """Judge a request as the policy says, and keep the question for the answer that is to come."""
        messages = asked.structured_messages or [_said_by_user(asked)]
        event = await self._decode(messages, "", param="structured_messages")
        known = (await self._memory.recall()).messages
        if known is not None and known != messages:
            # LiteLLM takes the name from its caller. Under one that two questions share, either is judged by the other.
            return GuardrailAnswer(
                action=GuardrailAction.BLOCKED, blocked_reason="expected a litellm_call_id that no other request has"
            )
        if self._rules.judge_prompt == "enforce" and not self._rules.shadow:
            await self._charge(1)
            found = (await self._moderate(self._moderators.shadow, event, param="structured_messages")).prompt
            if found is not None and found.action is None:
                raise RefusedRequestError("not_judged", "the request could not be judged", "structured_messages")
            if found is not None and found.action is not Action.ALLOW:
                return _block(found.category)
        await self._memory.keep_question(messages)
        return GuardrailAnswer(action=GuardrailAction.NONE)

    async def judge_response(self, asked: GuardrailRequest) -> GuardrailAnswer:
        """Judge answers as far as they are written, and what stands beside them."""
        recalled = await self._memory.recall()
        messages = recalled.messages or []
        context = digest_of(f"{self._moderators.policy.revision} {recalled.question_digest}")
        if not recalled.knows(context):
            await self._charge(max(1, *(len(said or ()) for said in (asked.texts, asked.images, asked.tool_calls))))
            if recalled.messages is None:
                self._metrics.count("weir_questions_unknown_total", route=ROUTE)
        self._size += recalled.num_bytes
        if asked.images and (verdict := await self._judge_images(asked.images)) is not None:
            return _block(verdict.category)
        if asked.tool_calls and (verdict := await self._judge_tool_calls(asked.tool_calls, messages)) is not None:
            return _block(verdict.category)
        texts = asked.texts or []
        event = await self._decode(messages, None, param="structured_messages")
        foreseen = [await self._foresee(text, recalled, event, context) for text in texts]
        for answer in foreseen:
            if answer.withheld_for is not None:
                return _block(answer.withheld_for.category)
        kept = tuple(answer.kept for answer in foreseen)
        if kept != recalled.answers:
            await self._memory.keep_answers(kept)
        given = [answer.text for answer in foreseen]
        return GuardrailAnswer(
            action=GuardrailAction.NONE if given == texts else GuardrailAction.INTERVENED,
            texts=None if given == texts else given,
            stream_holdback_chars=[len(answer.text) - answer.num_settled for answer in foreseen],
        )

    async def _foresee(self, text: str, recalled: Recalled, event: ConversationEvent, context: str) -> ForeseenAnswer:
        try:
            return await foresee(
                text,
                recalled.answers,
                event=event,
                moderators=self._moderators,
                rules=self._rules,
                context=context,
            )
        except PieceNotJudgedError as error:
            raise refuse_failed(error.failure, "texts") from None

    async def _judge_images(self, images: Sequence[str]) -> Verdict | None:
        """Return why images of an answer may not go out; None where they may. They are judged by themselves."""
        message: JsonValue = {"role": "user", "content": [_image_part(url) for url in images]}
        event = await self._decode([message], "", param="images")
        verdict = await self._moderate(self._moderators.inputs, event, param="images")
        is_allowed = self._rules.shadow or (verdict.shadow_action or verdict.action) is Action.ALLOW
        return None if is_allowed else verdict

    async def _judge_tool_calls(self, calls: Sequence[JsonValue], messages: Sequence[JsonValue]) -> Verdict | None:
        """Return why calls of tools may not go out; None where they may."""
        turn: JsonValue = {"role": "assistant", "content": None, "tool_calls": list(calls)}
        event = await self._decode(messages, turn, param="tool_calls")
        verdict = await self._moderate(self._moderators.live, event, param="tool_calls")
        return None if verdict.response == event.response else verdict

    async def _moderate(self, moderator: Moderates, event: ConversationEvent, *, param: str) -> Verdict:
        (outcome,) = await moderate_isolating(moderator, [event])
        if isinstance(outcome, Failure):
            raise refuse_failed(outcome, param)
        return outcome

    async def _decode(self, messages: Sequence[JsonValue], response: JsonValue, *, param: str) -> ConversationEvent:
        """Read a conversation as the wire format has it.

        Raises:
            RefusedRequestError: it is none.
        """
        written: dict[str, JsonValue] = {
            "schema_version": 1,
            "event_id": self._name,
            "conversation_id": self._name,
            "tenant": self._tenant,
            "occurred_at": ANY_TIME.isoformat(),
            "messages": list(messages),
            "response": response,
        }
        try:
            return (await off_loop(self._size, lambda: decode_json(written))).event
        except InvalidEventError as error:
            raise RefusedRequestError("invalid_value", f"{param}: {error}", param) from None


def _said_by_user(asked: GuardrailRequest) -> JsonValue:
    """Return a message with all that is asked, where it does not come as messages."""
    texts: list[JsonValue] = [{"type": "text", "text": text} for text in asked.texts or ()]
    return {"role": "user", "content": [*texts, *(_image_part(url) for url in asked.images or ())]}


def _image_part(url: str) -> JsonValue:
    return {"type": "image_url", "image_url": {"url": url}}


def _block(category: str | None) -> GuardrailAnswer:
    reason = category or "not everything could be judged"
    return GuardrailAnswer(action=GuardrailAction.BLOCKED, blocked_reason=f"withheld by the policy: {reason}")

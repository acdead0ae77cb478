"""`POST /v1/moderations`: OpenAI's moderation of texts and images, each judged for itself."""

from collections import Counter
from collections.abc import Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag
from pydantic_core import to_json

from protector_models.moderation.conversation import MAX_IMAGE_PARTS, ConversationEvent
from protector_models.moderation.messages.message import ImagePart, Message, TextPart
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.one_turn import ANY_TIME
from protector_models.moderation.policy.policy import DEFAULT_TENANT
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import Metrics, Moderates
from protector_models.moderation.verdict import Failure, Verdict
from protector_models.moderation.wire.halving import moderate_isolating
from services.http.bodies import read_json_object, validate
from services.http.door import Visit
from services.http.moderators import Moderators
from services.http.refusals import RefusedRequestError, refuse_failed
from services.http.results import answer_with

ROUTE = "/v1/moderations"

_OPENAI_MODELS = (
    *("omni-moderation-latest", "omni-moderation-2024-09-26"),
    *("text-moderation-latest", "text-moderation-stable", "text-moderation-007"),
)
"""What OpenAI's clients and gateways ask for where nobody told them otherwise: each is the detector that is there."""
_OWN_MODEL = "weir"
_RESULT_BYTES = 2_000
"""About as long is a result."""

SaidText = Annotated[str, Field(min_length=1)]
"""A text with at least one character."""

Part = Annotated[TextPart | ImagePart, Field(discriminator="type")]


def _require_something(parts: list[Part]) -> list[Part]:
    if any(isinstance(part, ImagePart) or part.text for part in parts):
        return parts
    raise ValueError("expected an image or a text of at least one character")


def _kind_of(written: object) -> str | None:
    if isinstance(written, str):
        return "one text"
    if not isinstance(written, list):
        return None
    return "parts" if any(isinstance(item, dict | BaseModel) for item in written) else "several texts"


Input = Annotated[
    Annotated[SaidText, Tag("one text")]
    | Annotated[list[SaidText], Field(min_length=1, fail_fast=True), Tag("several texts")]
    | Annotated[
        list[Part],
        Field(min_length=1, max_length=MAX_IMAGE_PARTS, fail_fast=True),
        AfterValidator(_require_something),
        Tag("parts"),
    ],
    Discriminator(
        _kind_of,
        custom_error_type="input_form",
        custom_error_message="expected a text, a list of texts, or a list of text and image_url parts",
    ),
]


class ModerationRequest(BaseModel):
    """What is to be judged."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    input: Input
    """A text; a list of texts, with a result for each; or one list of parts, texts and images, with one result."""
    model: str | None = None
    """The detector, by its "name@revision"; "weir" and OpenAI's names are the one that is there, whichever it is."""


async def moderate_inputs(visit: Visit, moderators: Moderators, *, max_items: int, metrics: Metrics) -> bytes:
    """Judge what a call has in its body, and return the answer: a `ModerationAnswer` in JSON.

    Args:
        visit: the call.
        moderators: judge it.
        max_items: texts in one call.
        metrics: counts results.

    Raises:
        RefusedRequestError: the body is not as expected, or something in it cannot be judged.
        DependencyError: a model is away.
    """
    asked = validate(ModerationRequest, await read_json_object(visit.body))
    require_model(asked.model, moderators)
    tenant = visit.tenant or DEFAULT_TENANT
    events = _to_events(asked.input, name=visit.id, tenant=tenant)
    require_few(events, max_items=max_items)
    await visit.charge_items(len(events))
    verdicts = await judge(visit, moderators.inputs, events)
    count_results(metrics, ROUTE, verdicts)
    return await write_answer(visit.id, verdicts, moderators.policy.for_tenant(tenant), model=moderators.detector)


def require_model(name: str | None, moderators: Moderators) -> None:
    """Refuse a model that is not there.

    Raises:
        RefusedRequestError: it is none of the names.
    """
    if name not in {None, _OWN_MODEL, *_OPENAI_MODELS, moderators.detector}:
        raise RefusedRequestError(
            "model_not_found",
            f"model: expected {_OWN_MODEL!r}, {moderators.detector!r} or one of OpenAI's moderation models",
            "model",
        )


def require_few(items: Sequence[object], *, max_items: int) -> None:
    """Refuse more than may be in one call.

    Raises:
        RefusedRequestError: there are more.
    """
    if len(items) > max_items:
        raise RefusedRequestError("too_many_items", f"expected at most {max_items} in one call, got {len(items)}")


async def judge(visit: Visit, moderator: Moderates, events: Sequence[ConversationEvent]) -> list[Verdict]:
    """Return the verdict on each event, all of them or none: OpenAI's answer has no place for a failure.

    Raises:
        RefusedRequestError: one could not be judged, or the time is over.
        DependencyError: a model is away.
    """
    outcomes = await visit.wait_for(moderate_isolating(moderator, events))
    verdicts: list[Verdict] = []
    for position, outcome in enumerate(outcomes):
        if isinstance(outcome, Failure):
            raise refuse_failed(outcome, "input" if len(events) == 1 else f"input[{position}]")
        verdicts.append(outcome)
    return verdicts


def count_results(metrics: Metrics, route: str, verdicts: Sequence[Verdict]) -> None:
    """Count results by what the policy does with them, or would do were it not in shadow."""
    for action, number in Counter(verdict.shadow_action or verdict.action for verdict in verdicts).items():
        metrics.count("weir_http_results_total", number, route=route, action=action.value)


async def write_answer(request_id: str, verdicts: Sequence[Verdict], rules: TenantRules, *, model: str) -> bytes:
    """Return the answer of `answer_with` in JSON; a long one is written beside the event loop."""
    return await off_loop(
        _RESULT_BYTES * len(verdicts), lambda: to_json(answer_with(request_id, verdicts, rules, model=model))
    )


def _to_events(
    asked: str | Sequence[str] | Sequence[TextPart | ImagePart], *, name: str, tenant: str
) -> list[ConversationEvent]:
    if isinstance(asked, str):
        return [_to_event(asked, (), name=name, tenant=tenant)]
    texts = [item for item in asked if isinstance(item, str)]
    if texts:
        return [_to_event(text, (), name=f"{name}-{position}", tenant=tenant) for position, text in enumerate(texts)]
    said = "\n".join(part.text for part in asked if isinstance(part, TextPart) and part.text)
    images = tuple(part for part in asked if isinstance(part, ImagePart))
    return [_to_event(said, images, name=name, tenant=tenant)]


def _to_event(text: str, images: tuple[ImagePart, ...], *, name: str, tenant: str) -> ConversationEvent:
    return ConversationEvent(
        schema_version=1,
        event_id=name,
        conversation_id=name,
        tenant=tenant,
        occurred_at=ANY_TIME,
        messages=(Message(role="user", content=images),) if images else (),
        response=text,
    )

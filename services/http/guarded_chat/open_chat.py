"""A chat that may be answered: what was asked, of whom, by which rules, and what was found in the input."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.held_back import HeldBackAnswer, Progress
from protector_models.moderation.messages.blanks import is_blank
from protector_models.moderation.messages.message import ImagePart, Message, UnreadContent
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.policy.needs import choose_completion
from protector_models.moderation.policy.policy import DEFAULT_TENANT
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import ChatModel, Metrics, Moderates
from protector_models.moderation.verdict import Action, Failure, Verdict
from protector_models.moderation.wire.encoded import count_ignored
from protector_models.moderation.wire.halving import moderate_isolating
from services.http.bodies import read_json_object, validate
from services.http.door import Visit
from services.http.guarded_chat.judgements import (
    INPUT_NOT_ASKED,
    NOTHING_SAID,
    ChatModeration,
    Judged,
    NotJudged,
    Withholding,
    action_of,
    most_severe,
    to_results,
)
from services.http.guarded_chat.requests import ChatCompletionRequest, require_answerable, to_event
from services.http.moderations import require_model
from services.http.moderators import Moderators
from services.http.refusals import RefusedRequestError, refuse_failed


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedInput:
    """What was judged of what the user says."""

    judged: Judged = INPUT_NOT_ASKED
    action: Action = Action.ALLOW
    """What is done about it; the MLLM is asked only where it is allowed."""
    instead: str | None = None
    """What is answered where the MLLM is not asked; None: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenChat:
    """A chat that may be answered."""

    id: str
    """Of the answer."""
    request_id: str
    asked: ChatCompletionRequest
    event: ConversationEvent
    """The conversation; its response is nobody's."""
    model: ChatModel
    """Answers."""
    moderator: Moderates
    """Judges answers."""
    rules: TenantRules
    name_language: Callable[[str], str | None] | None
    """Gives the language of a text, for the policy's own ones."""
    detector: str
    """Its "name@revision", as far as is known."""
    input: JudgedInput

    def hold_back(self, event: ConversationEvent, delivered: str = "") -> HeldBackAnswer:
        """Return what judges an answer piece by piece.

        Args:
            event: the conversation, under a name of the answer's own.
            delivered: what goes out before it.
        """
        before = Progress(delivered=delivered, num_released=len(delivered))
        return HeldBackAnswer(event, self.moderator, self.rules, name_language=self.name_language, progress=before)

    def action_on(self, verdicts: Sequence[Verdict]) -> Action:
        """Return what is done with an answer."""
        return most_severe(verdicts) if self.input.action is Action.ALLOW else self.input.action

    def tell(self, verdicts: Mapping[int, Sequence[Verdict]]) -> ChatModeration:
        """Return what was judged, with the verdicts on answers by their indexes."""
        return ChatModeration(input=self.input.judged, output=to_results(verdicts, self.rules, model=self.detector))


class NotAsked:
    """Stands for an MLLM that is not asked. Implements `ChatModel`."""

    fields = None

    def __init__(self, name: str, *, num_choices: int, instead: str | None) -> None:
        """Stand for an MLLM.

        Args:
            name: the MLLM's.
            num_choices: how many answers are wanted.
            instead: what each says; None: nothing, and it is withheld.
        """
        self.name = name
        said: JsonValue = {"content": instead}
        reason = "content_filter" if instead is None else "stop"
        self._choices: list[JsonValue] = [
            {"index": index, "message": said, "delta": said, "finish_reason": reason} for index in range(num_choices)
        ]

    async def complete(self, _: Mapping[str, JsonValue]) -> Mapping[str, JsonValue]:
        """Return the answers."""
        return {"choices": self._choices}

    async def stream(self, _: Mapping[str, JsonValue]) -> AsyncGenerator[Mapping[str, JsonValue], None]:
        """Yield the answers at once."""
        yield {"choices": self._choices}


async def open_chat(visit: Visit, moderators: Moderators, *, max_choices: int, metrics: Metrics) -> OpenChat:
    """Read the chat that a call has in its body, and judge its input where the request wants that.

    Raises:
        RefusedRequestError: there is no MLLM, the body is not as expected, or the input cannot be judged.
        DependencyError: a model is away.
    """
    model = moderators.chat
    if model is None:
        raise RefusedRequestError("model_not_found", "no MLLM is configured (mllm): nobody answers chats", "model")
    asked = validate(ChatCompletionRequest, await read_json_object(visit.body))
    require_answerable(asked, model, max_choices=max_choices)
    await visit.charge_items(asked.num_choices)
    if asked.moderation is not None:
        require_model(asked.moderation.model, moderators)
    tenant = visit.tenant or DEFAULT_TENANT
    rules = moderators.policy.for_tenant(tenant)
    decoded = await off_loop(len(visit.body), lambda: to_event(asked.messages, name=visit.id, tenant=tenant))
    count_ignored([decoded], metrics)
    found = await visit.wait_for(_judge_input(asked, decoded.event, moderators, rules))
    moderator: Moderates = moderators.live
    if asked.blocks_output or asked.is_of_form:
        moderator = Withholding(moderator, whatever_is_found=asked.blocks_output)
    return OpenChat(
        id=f"chatcmpl-{visit.id}",
        request_id=visit.id,
        asked=asked,
        event=decoded.event,
        model=model
        if found.action is Action.ALLOW
        else NotAsked(model.name, num_choices=asked.num_choices, instead=found.instead),
        moderator=moderator,
        rules=rules,
        name_language=moderators.name_language,
        detector=moderators.detector,
        input=found,
    )


async def _judge_input(
    asked: ChatCompletionRequest, event: ConversationEvent, moderators: Moderators, rules: TenantRules
) -> JudgedInput:
    if asked.input_mode is None and rules.judge_prompt == "skip":
        return JudgedInput()
    said = _to_input(event)
    if said is None:
        return JudgedInput(judged=NOTHING_SAID)
    verdict = (await moderate_isolating(moderators.inputs, [said]))[0]
    if isinstance(verdict, Failure):
        refusal = refuse_failed(verdict, "messages")
        if asked.input_mode == "block" or (rules.judge_prompt == "enforce" and not rules.shadow):
            raise refusal
        return JudgedInput(judged=NotJudged(code=refusal.code, message=refusal.message))
    judged = to_results({0: [verdict]}, rules, model=moderators.detector)
    action = action_of(verdict)
    if action is not Action.ALLOW and asked.input_mode == "block":
        return JudgedInput(judged=judged, action=Action.BLOCK)
    if rules.judge_prompt != "enforce" or rules.shadow:
        return JudgedInput(judged=judged)
    replaces = action is Action.REWRITE and not asked.is_of_form
    needs = {} if verdict.assessment is None else verdict.assessment.needs
    completion = choose_completion(rules.needs, verdict.category, needs)
    return JudgedInput(judged=judged, action=action, instead=rules.safe_completion(completion) if replaces else None)


def _to_input(event: ConversationEvent) -> ConversationEvent | None:
    """Return what the user says last as something to judge by itself; None where nothing is said or shown."""
    text = event.exchange("").prompt
    parts = tuple(
        part
        for message in event.messages
        if isinstance(message.content, tuple)
        for part in message.content
        if isinstance(part, ImagePart | UnreadContent)
    )
    if is_blank(text) and not parts:
        return None
    messages = (Message(role="user", content=parts),) if parts else ()
    return event.model_copy(update={"event_id": f"{event.event_id}-input", "messages": messages, "response": text})

"""The stage between images and assessment: every event has a response then, its own or the MLLM's, or has failed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import finalize

from pydantic import ValidationError

from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.errors import DependencyError, IncompleteError
from protector_models.moderation.image_stage import EventImages
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.outages import Outage, require_open
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import Answer, ResponseGenerator
from protector_models.moderation.stages import Stage, StageStatus
from protector_models.moderation.verdict import Failure

_MESSAGE_SIZE = 20
"""A message takes as long as so many characters, however many it has itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """An event whose response is known."""

    exchange: Exchange
    images: EventImages
    generation: StageStatus
    mllm: str | None = None
    """The MLLM that answered, "name@revision"; None where the response came with the event."""
    rules: TenantRules


class AnswerStage:
    """Has the MLLM answer what has no response."""

    def __init__(
        self, *, generator: ResponseGenerator | None, policy: Policy, judges_image_texts: bool = False
    ) -> None:
        """Put the stage together.

        Args:
            generator: the MLLM; without one events without a response fail.
            policy: gives each event the rules of its tenant.
            judges_image_texts: whether what stands in images counts as said in a response that came with its event.
        """
        self._generator = generator
        self._policy = policy
        self._judges_image_texts = judges_image_texts
        self._given: dict[int, Answer] = {}
        """By identity of its event, what was answered for batches that have not come to their end. One that is tried
        again shall not ask again: it costs most of all, and another answer may be given. Goes with the event."""

    async def answer(
        self,
        events: Sequence[ConversationEvent],
        images: Sequence[EventImages],
        *,
        kept: Collection[int] = (),
    ) -> list[Answered | Failure]:
        """Let the MLLM answer the events that have no response, with the very images that were read.

        Args:
            events: any number of them.
            images: what became of those of each event.
            kept: positions of events that the MLLM is not shown, because of what was asked; their response is empty.

        Raises:
            DependencyError: the MLLM is gone or late; what it answered is kept for the next try. Where the rules of all
                that it owes an answer go on without it (`on_mllm_outage`), they fail instead.
        """
        unanswered = [
            position
            for position, event in enumerate(events)
            if position not in kept and _is_answerable(event, images[position])
        ]
        generated = await self._generate({position: events[position] for position in unanswered}, images)
        return await off_loop(
            sum(map(_size, events)),
            lambda: [
                self._kept(event, seen) if position in kept else self._answered(event, seen, generated.get(position))
                for position, (event, seen) in enumerate(zip(events, images, strict=True))
            ],
        )

    def will_ask(self, event: ConversationEvent, images: EventImages) -> bool:
        """Tell whether the MLLM is there, and will be asked to answer an event."""
        return self._generator is not None and _is_answerable(event, images)

    def rules_of(self, event: ConversationEvent) -> TenantRules:
        """Return the rules of an event's tenant."""
        return self._policy.for_tenant(event.tenant)

    def _kept(self, event: ConversationEvent, images: EventImages) -> Answered:
        seen = replace(images, data_urls={})
        exchange = event.exchange("", images.seen)
        return Answered(exchange=exchange, images=seen, generation=StageStatus.SKIPPED, rules=self.rules_of(event))

    def forget(self, events: Sequence[ConversationEvent]) -> None:
        """Take note that a batch came to its end: whoever moderates its events once more asks once more."""
        for event in events:
            self._given.pop(id(event), None)

    async def _generate(
        self, events: Mapping[int, ConversationEvent], images: Sequence[EventImages]
    ) -> dict[int, Answer | ItemFailure]:
        """Return what the MLLM says to events, both by position."""
        if self._generator is None:
            return {}
        given = {position: self._given[id(event)] for position, event in events.items() if id(event) in self._given}
        asked = [position for position in events if position not in given]
        shown = [images[position].shown_in(events[position]) for position in asked]
        wanted = [events[position] for position in asked]
        try:
            outcomes = await self._generator.generate(shown) if shown else []
        except DependencyError as error:
            had = error.outcomes if isinstance(error, IncompleteError) else [None] * len(wanted)
            self._keep(wanted, had)
            outage = Outage(cause=error)
            outcomes = [outcome if isinstance(outcome, Answer | ItemFailure) else outage for outcome in had]
            on_outage = [self._policy.for_tenant(event.tenant).on_mllm_outage for event in wanted]
            require_open(zip(outcomes, on_outage, strict=True))
        else:
            self._keep(wanted, outcomes)
        return {**given, **dict(zip(asked, outcomes, strict=True))}

    def _keep(self, events: Sequence[ConversationEvent], outcomes: Sequence[object]) -> None:
        for event, outcome in zip(events, outcomes, strict=True):
            if isinstance(outcome, Answer):
                self._given[id(event)] = outcome
                finalize(event, self._given.pop, id(event), None)

    def _answered(
        self, event: ConversationEvent, images: EventImages, generated: Answer | ItemFailure | None
    ) -> Answered | Failure:
        rules = self.rules_of(event)
        if not event.lacks_response():
            exchange = event.exchange(event.response or "", images.seen)
            if self._judges_image_texts:
                exchange = exchange.with_image_texts_said()
            return Answered(exchange=exchange, images=images, generation=StageStatus.SKIPPED, rules=rules)
        if images.missing is not None:
            return Failure(stage=Stage.IMAGES, error=images.missing.error, message=images.missing.message)
        if self._generator is not None:
            generated = _why_unanswerable(event) or generated
        if isinstance(generated, ItemFailure):
            return Failure(stage=Stage.GENERATE, error=generated.error, message=generated.message)
        if generated is None:
            return Failure(
                stage=Stage.GENERATE,
                error="NoMllmConfigured",
                message="response is null: expected a response, or an MLLM in the configuration (mllm) to answer",
            )
        try:
            exchange = event.exchange(generated.text, images.seen)
        except ValidationError:
            message = "the MLLM's answer has no UTF-8 form: expected text without lone surrogates"
            return Failure(stage=Stage.GENERATE, error="InvalidText", message=message)
        # Without the bytes, which the MLLM has seen: what is to be rewritten may wait for long.
        seen = replace(images, data_urls={})
        return Answered(
            exchange=exchange, images=seen, generation=StageStatus.COMPLETE, mllm=generated.mllm, rules=rules
        )


def _size(event: ConversationEvent) -> int:
    return len(event.response or "") + _MESSAGE_SIZE * len(event.messages)


def _is_answerable(event: ConversationEvent, images: EventImages) -> bool:
    return event.lacks_response() and images.missing is None and _why_unanswerable(event) is None


def _why_unanswerable(event: ConversationEvent) -> ItemFailure | None:
    """Return why an MLLM is not asked at all: what answers less than what was said may answer something else."""
    if not event.messages:
        return ItemFailure(error="NothingToAnswer", message="messages: expected at least one that an MLLM can answer")
    if unread := event.unread_parts():
        kinds = ", ".join(sorted({part.kind.value for part in unread}))
        return ItemFailure(error="PartsNotShown", message=f"no MLLM is shown parts of these kinds: {kinds}")
    return None

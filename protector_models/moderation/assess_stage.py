"""The stage after the answers: the detector reads responses, and requests where a policy asks for it; rules decide."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from protector_models.moderation.answer_stage import Answered, AnswerStage
from protector_models.moderation.cached_detector import CachedDetector
from protector_models.moderation.cached_outputs import ObtainedOutput
from protector_models.moderation.conclusions import Decided, decide
from protector_models.moderation.conversation import ConversationEvent, Exchange
from protector_models.moderation.image_stage import EventImages
from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.needs_reading import ReadNeeds, has_cut_turns, join_turns, list_turns
from protector_models.moderation.outages import Outage, failing_closed, require_open, tell_open
from protector_models.moderation.policy.needs import decide_for_person, may_matter
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import Metrics
from protector_models.moderation.prompts import JudgedPrompt, PromptTask, find_prompt
from protector_models.moderation.settling import settle
from protector_models.moderation.shadow_policy import ShadowPolicy
from protector_models.moderation.verdict import Failure, ShadowDecision


class AssessStage:
    """Has the detector read what is to be judged, and the rules decide."""

    def __init__(
        self,
        *,
        detector: CachedDetector,
        answers: AnswerStage,
        policy: Policy,
        metrics: Metrics,
        shadow: ShadowPolicy | None = None,
        judges_prompts: bool = True,
    ) -> None:
        """Put the stage together.

        Args:
            detector: reads.
            answers: knows the rules of each event, and which of them the MLLM is asked for.
            policy: the one that decides; verdicts name it.
            metrics: counts what goes on, or does not, while the detector is away.
            shadow: another policy that decides beside it; None: there is none.
            judges_prompts: whether requests are judged, where the policy asks for it.
        """
        self._detector = detector
        self._answers = answers
        self._metrics = metrics
        self._policy_revision = policy.revision
        self._shadow = shadow
        self._judges_prompts = judges_prompts and policy.judges_prompts()
        self._looks_at_needs = policy.looks_at_needs() or (shadow is not None and shadow.policy.looks_at_needs())

    async def judge_requests(
        self, events: Sequence[ConversationEvent], images: Sequence[EventImages]
    ) -> dict[int, JudgedPrompt]:
        """Return the requests that the MLLM is about to be shown, judged, by the positions of their events.

        Raises:
            DependencyError: the detector is gone or late.
        """
        if not self._judges_prompts:
            return {}
        tasks = {
            position: task
            for position, (event, seen) in enumerate(zip(events, images, strict=True))
            if self._answers.will_ask(event, seen) and (task := self._find_prompt(event, seen)) is not None
        }
        asked = self._detector.revision
        assessed = await self._assess([(task.exchange, task.rules) for task in tasks.values()], num_events=0)
        return {
            position: task.judge(found, asked=asked, may_enforce=True)
            for (position, task), found in zip(tasks.items(), assessed, strict=True)
        }

    async def decide(
        self,
        events: Sequence[ConversationEvent],
        ends: Sequence[Answered | Failure],
        prompts: Mapping[int, JudgedPrompt],
    ) -> list[Decided | Failure]:
        """Have each response read, and beside it the request where that is still to be done.

        Args:
            events: any number of them.
            ends: what became of each until here; failures stay.
            prompts: the requests that were judged before, by position.

        Raises:
            DependencyError: the detector is gone or late.
        """
        responses = {
            position: end
            for position, end in enumerate(ends)
            if isinstance(end, Answered) and not (position in prompts and prompts[position].is_enforced)
        }
        tasks: dict[int, PromptTask] = {}
        for position, item in responses.items() if self._judges_prompts else ():
            task = None if position in prompts else self._find_prompt(events[position], item.images)
            if task is not None:
                tasks[position] = task
        asked = self._detector.revision
        to_read = [(item.exchange, item.rules) for item in responses.values()]
        to_read += [(task.exchange, task.rules) for task in tasks.values()]
        found = iter(await self._assess(to_read, num_events=len(responses)))
        assessed = {position: next(found) for position in responses}
        judged = {position: task.judge(next(found), asked=asked, may_enforce=False) for position, task in tasks.items()}
        judged |= prompts
        decided = {
            position: self._decided(end, judged.get(position), assessed.get(position), asked=asked)
            for position, end in enumerate(ends)
            if isinstance(end, Answered)
        }
        needs = await self._read_needs(
            {
                position: (events[position], item.answered.rules)
                for position, item in decided.items()
                if self._must_know_needs(events[position], item)
            }
        )
        return [
            end if isinstance(end, Failure) else self._decide_for_person(event, decided[position], needs.get(position))
            for position, (event, end) in enumerate(zip(events, ends, strict=True))
        ]

    def _must_know_needs(self, event: ConversationEvent, item: Decided) -> bool:
        """Tell whether what the person needs may change what follows, by the policy or by the one in shadow."""
        output = item.assessed.output
        if not self._looks_at_needs or not isinstance(output, Assessment):
            return False
        if may_matter(item.answered.rules.needs, item.decision, output):
            return True
        shadow = None if item.is_kept_from_mllm else self._shadow
        return shadow is not None and shadow.must_know_needs(event.tenant, item.answered, output)

    async def _read_needs(self, events: Mapping[int, tuple[ConversationEvent, TenantRules]]) -> dict[int, ReadNeeds]:
        """Return what the persons need in whose turns something is said, by position.

        A turn that the detector fails on says nothing of it; where it is away, what its outage entails is done.
        """
        turns = {position: list_turns(event) for position, (event, _) in events.items()}
        to_read = [(turn, events[position][1]) for position, said in turns.items() for turn in said]
        if not to_read:
            return {}
        found = iter(await self._assess(to_read, num_events=0))
        return {
            position: join_turns([next(found) for _ in said], is_cut=has_cut_turns(events[position][0]))
            for position, said in turns.items()
            if said
        }

    def _decide_for_person(self, event: ConversationEvent, item: Decided, needs: ReadNeeds | None) -> Decided:
        """Return what was decided, by what the person needs as well; only now the policy in shadow is asked."""
        output, decision = item.assessed.output, item.decision
        scores: Mapping[str, float] = {} if needs is None else needs.scores
        if scores and isinstance(output, Assessment):
            decision = decide_for_person(item.answered.rules.needs, decision, output, scores)
        shadow: ShadowDecision | None = None
        if self._shadow is not None and not item.is_kept_from_mllm:
            shadow = self._shadow.decide(event.tenant, item.answered, output, scores)
        if needs is None and shadow is None:
            return item
        # What is read for the policy in shadow alone is nothing that this one says.
        is_told = isinstance(output, Assessment) and may_matter(item.answered.rules.needs, item.decision, output)
        return replace(item, decision=decision, needs=needs if is_told else None, shadow=shadow)

    async def _assess(
        self, to_read: Sequence[tuple[Exchange, TenantRules]], *, num_events: int
    ) -> list[ObtainedOutput[Assessment]]:
        """Have exchanges read; where the detector is away and the rules go on without it, an outage stands for it.

        Args:
            to_read: what, and by whose rules.
            num_events: how many of them, the first ones, count for their events: each event counts once.
        """
        with failing_closed(self._metrics, "detector", num_events or len(to_read)):
            assessed = await self._detector.assess_if_there([exchange for exchange, _ in to_read])
            require_open(
                (found.output, rules.on_detector_outage) for found, (_, rules) in zip(assessed, to_read, strict=True)
            )
        num_open = sum(isinstance(found.output, Outage) for found in assessed[:num_events])
        settle(partial(tell_open, self._metrics, "detector", num_open))
        return assessed

    def _decided(
        self,
        item: Answered,
        prompt: JudgedPrompt | None,
        assessed: ObtainedOutput[Assessment] | None,
        *,
        asked: str,
    ) -> Decided:
        if assessed is None:
            assert prompt is not None  # it is why there is no response
            assessed, decision = prompt.assessed, prompt.decision
        else:
            decision = decide(item, assessed.output)
        return Decided(
            answered=item,
            asked=asked,
            assessed=assessed,
            decision=decision,
            prompt=prompt,
            policy_revision=self._policy_revision,
        )

    def _find_prompt(self, event: ConversationEvent, images: EventImages) -> PromptTask | None:
        return find_prompt(event, images, self._answers.rules_of(event))

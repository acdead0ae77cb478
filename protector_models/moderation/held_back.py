"""An answer that is still being written, delivered piece by piece: nothing goes out that was not judged before.

A piece is a sentence, or several short ones. It is judged with the question and with what went out right before it, so
that harm over the edge of two pieces is seen. Which pieces there are depends on the text alone, not on how it comes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import WeirError
from protector_models.moderation.model_outputs import Assessment
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import Moderates
from protector_models.moderation.sentences import find_settled_ends
from protector_models.moderation.verdict import Failure, Outcome, RewriteMethod, Verdict
from protector_models.moderation.wire.halving import moderate_isolating

MIN_PIECE_CHARACTERS = 48
"""Shorter sentences wait for the next one: each piece costs a judgement."""
CONTEXT_CHARACTERS = 400
"""Of what went out are judged again with the next piece."""
_BREAK = "\n\n"

_IN_PLACE = (RewriteMethod.EDIT, RewriteMethod.OMIT)
"""Methods that leave the rest of a text as it is."""


class PieceNotJudgedError(WeirError):
    """A piece could not be judged: nothing more may go out."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure)
        self.failure = failure
        """Why not."""

    def __str__(self) -> str:
        """Say why not."""
        return self.failure.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far an answer is."""

    num_judged: int = 0
    """Characters of the answer that were judged, from its beginning on."""
    delivered: str = ""
    """What may go out in their place."""
    num_released: int = 0
    """Characters of that which were given out."""
    is_over: bool = False
    """Whether nothing follows, whatever is still written."""
    is_withheld: bool = False
    """Whether what follows is withheld, and nothing stands in for it."""


class HeldBackAnswer:
    """Judges an answer while it is written, and tells what of it may go out.

    Laws (held by tests): whatever the steps in which the text comes, the same goes out; what goes out was judged, in
    the company in which it is read; what went out stays. Where the rules let pass what nobody judged (`on_failure`,
    `on_detector_outage`), they do here, too. What is counted of verdicts and rewrites is counted for each piece.
    """

    def __init__(
        self,
        event: ConversationEvent,
        moderator: Moderates,
        rules: TenantRules,
        *,
        name_language: Callable[[str], str | None] | None = None,
        progress: Progress | None = None,
    ) -> None:
        """Begin an answer, or go on with one.

        Args:
            event: the conversation that is answered; its response is not looked at.
            moderator: judges, and rewrites.
            rules: of the event's tenant.
            name_language: as the moderator has it, for the policy's texts.
            progress: how far it was; None: nothing was written yet.
        """
        self._event = event
        self._moderator = moderator
        self._rules = rules
        self._name_language = name_language
        self._progress = progress or Progress()
        self._verdicts: list[Verdict] = []
        self._findings: list[Verdict] = []

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self._progress

    @property
    def verdicts(self) -> Sequence[Verdict]:
        """Verdicts on all pieces, in order; those of this object alone."""
        return self._verdicts

    @property
    def findings(self) -> Sequence[Verdict]:
        """Verdicts on pieces that did not go out as they were, in order; those of this object alone."""
        return self._findings

    async def read(self, text: str, *, is_whole: bool = False) -> str:
        """Judge what is new of an answer, as far as its sentences are settled.

        Args:
            text: the answer from its beginning on, as far as it is written.
            is_whole: whether nothing follows.

        Returns:
            What may go out now, behind what went out before.

        Raises:
            PieceNotJudgedError: a piece cannot be judged.
            DependencyError: a model is away; may be asked again.
        """
        start = self._progress.num_judged
        ends = list(find_settled_ends(text, start=start, min_characters=MIN_PIECE_CHARACTERS))
        if is_whole and (ends[-1] if ends else start) < len(text):
            ends.append(len(text))
        while ends and not self._progress.is_over:
            num_taken = await self._take(text, ends)
            ends = ends[num_taken:]
        return self._release()

    async def judge_apart(self, said: str) -> str:
        """Judge what goes out behind the answer as it is or not at all, such as the calls of tools.

        Where it may not go out, the answer is over: it ends with the policy's text, or is withheld.

        Args:
            said: all that is said in it.

        Returns:
            What may go out in its place; empty where it goes out itself.

        Raises:
            PieceNotJudgedError: it cannot be judged.
            DependencyError: a model is away; may be asked again.
        """
        before = _context(self._progress.delivered)
        passage = f"{before}\n{said}" if before else said
        verdict = _require_verdict((await self._judge([passage]))[0])
        self._verdicts.append(verdict)
        if verdict.response != passage:
            await self._end(self._progress.num_judged, verdict, passage)
        return self._release()

    def _release(self) -> str:
        released = self._progress.delivered[self._progress.num_released :]
        self._progress = replace(self._progress, num_released=len(self._progress.delivered))
        return released

    async def _take(self, text: str, ends: Sequence[int]) -> int:
        """Judge pieces, as if all before each went out; take those up to the first that does not; return how many."""
        starts = [self._progress.num_judged, *ends]
        pieces = [text[start:end] for start, end in zip(starts, ends, strict=False)]
        expected = self._progress.delivered
        contexts: list[str] = []
        for piece in pieces:
            contexts.append(_context(expected))
            expected += piece
        passages = [context + piece for context, piece in zip(contexts, pieces, strict=True)]
        outcomes = await self._judge(passages)
        for num_taken, (end, context, passage, outcome) in enumerate(
            zip(ends, contexts, passages, outcomes, strict=True), start=1
        ):
            verdict = _require_verdict(outcome)
            self._verdicts.append(verdict)
            if verdict.response == passage:
                self._go_on(end, passage.removeprefix(context))
                continue
            changed = verdict.response
            if changed is not None and verdict.rewrite_method in _IN_PLACE and changed.startswith(context):
                self._findings.append(verdict)
                self._go_on(end, changed.removeprefix(context))
            else:
                await self._end(end, verdict, passage)
            # The others would be read in other company.
            return num_taken
        return len(ends)

    async def _end(self, end: int, verdict: Verdict, passage: str) -> None:
        """End the answer with a text that stands in for the whole of what was judged, or withhold what follows."""
        gap = _BREAK if self._progress.delivered.strip() else ""
        texts: list[tuple[str, RewriteMethod | None]] = []
        if verdict.response is not None:
            # One that was changed in place would change what went out already.
            if verdict.rewrite_method not in _IN_PLACE:
                texts.append((verdict.response, verdict.rewrite_method))
            language = self._find_language(passage)
            texts += [
                (self._rules.safe_completion(name, language), RewriteMethod.COMPLETE) for name in _name_texts(verdict)
            ]
        for text, method in texts:
            assessment = await self._assess_behind(gap + text)
            if assessment is not None:
                update = {"response": text, "rewrite_method": method, "rewrite_assessment": assessment}
                self._findings.append(verdict.model_copy(update=update))
                self._go_on(end, gap + text, is_over=True)
                return
        self._findings.append(verdict)
        self._go_on(end, "", is_over=True, is_withheld=True)

    async def _assess_behind(self, text: str) -> Assessment | None:
        """Return the assessment of a text behind what went out; None where it may not be read there.

        It may where the rules would put the very text in place of both: what went out then asks for it.
        """
        passage = _context(self._progress.delivered) + text
        verdict = _require_verdict((await self._judge([passage]))[0])
        if verdict.needs is not None and verdict.needs.completion is not None and verdict.response == text.strip():
            return verdict.rewrite_assessment
        return verdict.assessment if verdict.response == passage else None

    def _find_language(self, passage: str) -> str | None:
        if self._name_language is None:
            return None
        return self._name_language(self._event.exchange("").prompt) or self._name_language(passage)

    async def _judge(self, passages: Sequence[str]) -> list[Outcome]:
        events = [
            self._event.model_copy(update={"event_id": f"{self._event.event_id}-{position}", "response": passage})
            for position, passage in enumerate(passages)
        ]
        return await moderate_isolating(self._moderator, events)

    def _go_on(self, end: int, text: str, *, is_over: bool = False, is_withheld: bool = False) -> None:
        delivered = self._progress.delivered + text
        self._progress = replace(
            self._progress, num_judged=end, delivered=delivered, is_over=is_over, is_withheld=is_withheld
        )


def _name_texts(verdict: Verdict) -> tuple[str | None, ...]:
    """Return which of the policy's texts may stand in, in order; None is the default one.

    One that replaces the category's, because the person is in danger, is the only one.
    """
    chosen = None if verdict.needs is None else verdict.needs.completion
    if chosen is not None and chosen == verdict.category:
        return (chosen,)
    return (chosen or verdict.category, None)


def _require_verdict(outcome: Outcome) -> Verdict:
    if isinstance(outcome, Failure):
        raise PieceNotJudgedError(outcome)
    return outcome


def _context(delivered: str) -> str:
    """Return the end of what went out, from the beginning of a word on where there is one."""
    if len(delivered) <= CONTEXT_CHARACTERS:
        return delivered
    start = len(delivered) - CONTEXT_CHARACTERS
    space = delivered.find(" ", start, start + CONTEXT_CHARACTERS // 2)
    return delivered[space + 1 if space >= 0 else start :]

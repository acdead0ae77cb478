"""An answer that is still being written, delivered piece by piece: nothing goes out that was not judged before.

A piece is a sentence, or several short ones. It is judged with the question and with what went out right before it, so
that harm over the edge of two pieces is seen. Which pieces there are depends on the text alone, not on how it comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import WeirError
from protector_models.moderation.policy.tenant_rules import TenantRules
from protector_models.moderation.ports import Moderates
from protector_models.moderation.sentences import find_settled_ends
from protector_models.moderation.verdict import Action, Failure, RewriteMethod, Verdict
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
    """What went out in their place."""
    is_over: bool = False
    """Whether nothing follows, whatever is still written."""
    is_withheld: bool = False
    """Whether what follows is withheld, and nothing stands in for it."""


class HeldBackAnswer:
    """Judges an answer while it is written, and tells what of it may go out.

    Laws (held by tests): whatever the steps in which the text comes, the same goes out; what goes out was judged, in
    the company in which it is read; what went out stays.
    """

    def __init__(
        self, event: ConversationEvent, moderator: Moderates, rules: TenantRules, *, progress: Progress | None = None
    ) -> None:
        """Begin an answer, or go on with one.

        Args:
            event: the conversation that is answered; its response is not looked at.
            moderator: judges, and rewrites.
            rules: of the event's tenant.
            progress: how far it was; None: nothing was written yet.
        """
        self._event = event
        self._moderator = moderator
        self._rules = rules
        self._progress = progress or Progress()
        self._num_released = len(self._progress.delivered)
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
        verdict = (await self._judge([passage]))[0]
        if isinstance(verdict, Failure):
            raise PieceNotJudgedError(verdict)
        self._verdicts.append(verdict)
        if verdict.response != passage:
            self._findings.append(verdict)
            await self._end(self._progress.num_judged, verdict)
        return self._release()

    def _release(self) -> str:
        released = self._progress.delivered[self._num_released :]
        self._num_released += len(released)
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
        verdicts = await self._judge(passages)
        for num_taken, (end, context, passage, verdict) in enumerate(
            zip(ends, contexts, passages, verdicts, strict=True), start=1
        ):
            if isinstance(verdict, Failure):
                raise PieceNotJudgedError(verdict)
            self._verdicts.append(verdict)
            if verdict.response == passage:
                self._go_on(end, passage.removeprefix(context))
                continue
            self._findings.append(verdict)
            await self._deliver_instead(end, context, verdict)
            return num_taken
        return len(ends)

    async def _deliver_instead(self, end: int, context: str, verdict: Verdict) -> None:
        text = verdict.response
        if text is not None and verdict.rewrite_method in _IN_PLACE and text.startswith(context):
            self._go_on(end, text.removeprefix(context))
            return
        await self._end(end, verdict)

    async def _end(self, end: int, verdict: Verdict) -> None:
        """End the answer with the text that stands in for the whole of what was judged, or withhold what follows."""
        text = verdict.response
        if text is not None and verdict.rewrite_method in _IN_PLACE:
            # What went out already would have to change.
            text = await self._find_completion(verdict.category)
        if text is None:
            self._go_on(end, "", is_over=True, is_withheld=True)
            return
        gap = _BREAK if self._progress.delivered.strip() else ""
        self._go_on(end, gap + text, is_over=True)

    async def _find_completion(self, category: str | None) -> str | None:
        """Return the policy's text, if it may go out itself."""
        text = self._rules.safe_completion(category)
        verdict = (await self._judge([text]))[0]
        return text if isinstance(verdict, Verdict) and verdict.action is Action.ALLOW else None

    async def _judge(self, passages: Sequence[str]) -> list[Verdict | Failure]:
        events = [
            self._event.model_copy(update={"event_id": f"{self._event.event_id}-{position}", "response": passage})
            for position, passage in enumerate(passages)
        ]
        return await moderate_isolating(self._moderator, events)

    def _go_on(self, end: int, text: str, *, is_over: bool = False, is_withheld: bool = False) -> None:
        self._progress = Progress(
            num_judged=end, delivered=self._progress.delivered + text, is_over=is_over, is_withheld=is_withheld
        )


def _context(delivered: str) -> str:
    """Return the end of what went out, from the beginning of a word on where there is one."""
    if len(delivered) <= CONTEXT_CHARACTERS:
        return delivered
    start = len(delivered) - CONTEXT_CHARACTERS
    space = delivered.find(" ", start, start + CONTEXT_CHARACTERS // 2)
    return delivered[space + 1 if space >= 0 else start :]

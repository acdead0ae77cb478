"""Answers that the MLLM wrote whole, judged in the light of the conversation before they go out."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from protector_models.moderation.errors import UnansweredError
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.verdict import Failure, RewriteMethod, Verdict
from protector_models.moderation.wire.halving import moderate_isolating
from services.http.guarded_chat.answers import CalledFunction, ChatChoice, ChatMessage, Logprobs, ToolCall
from services.http.guarded_chat.held_choice import said_by
from services.http.guarded_chat.open_chat import OpenChat
from services.http.guarded_chat.requests import with_answer
from services.http.guarded_chat.written import FinishReason, WrittenChoice, find_logprobs, name_call, name_reason
from services.http.refusals import refuse_failed

_INSTEAD = (RewriteMethod.GENERATE, RewriteMethod.COMPLETE)
"""Methods that keep nothing of an answer."""


@dataclass(slots=True, kw_only=True)
class _Answer:
    """One answer, and what is known of it."""

    written: WrittenChoice
    verdicts: list[Verdict] = field(default_factory=list)
    content: str | None = None
    refusal: str | None = None
    calls: list[ToolCall] = field(default_factory=list)
    reason: FinishReason | None = None
    """Why it ends, where that is not for the MLLM to say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedChoice:
    """An answer that may go out."""

    choice: ChatChoice
    verdicts: Sequence[Verdict]
    """On all that is said in it."""


class WholeAnswers:
    """Judges the answers to one chat."""

    def __init__(self, chat: OpenChat) -> None:
        """Put it together for a chat."""
        self._chat = chat

    async def judge(self, written: Sequence[WrittenChoice]) -> list[JudgedChoice]:
        """Return each answer as it may go out.

        Raises:
            RefusedRequestError: one cannot be judged.
            UnansweredError: one says something and refuses, too.
            PieceNotJudgedError: the calls of tools in one cannot be judged.
            DependencyError: a model is away.
        """
        if any(choice.message.content and choice.message.refusal for choice in written):
            raise UnansweredError("InvalidAnswer: expected content or a refusal, got both")
        answers = [_Answer(written=choice) for choice in written]
        await self._judge_texts(answers)
        for answer in answers:
            if answer.written.message.tool_calls and answer.reason is None:
                await self._judge_calls(answer)
        return [await self._finish(answer) for answer in answers]

    async def _judge_texts(self, answers: Sequence[_Answer]) -> None:
        texts = [
            (answer, name, text)
            for answer in answers
            for name in ("content", "refusal")
            if (text := getattr(answer.written.message, name))
        ]
        events = [
            with_answer(self._chat.event, text, name=f"{self._chat.event.event_id}-{answer.written.index}-{name}")
            for answer, name, text in texts
        ]
        outcomes = await moderate_isolating(self._chat.moderator, events)
        for (answer, name, _), outcome in zip(texts, outcomes, strict=True):
            if isinstance(outcome, Failure):
                raise refuse_failed(outcome)
            answer.verdicts.append(outcome)
            setattr(answer, name, outcome.response)
            if outcome.response is None:
                answer.reason = "content_filter"
            elif outcome.rewrite_method in _INSTEAD:
                answer.reason = answer.reason or "stop"

    async def _judge_calls(self, answer: _Answer) -> None:
        """Judge the calls of tools in an answer behind what else it says."""
        message, index = answer.written.message, answer.written.index
        calls = [
            ToolCall(
                id=name_call(request_id=self._chat.request_id, choice=index, position=position),
                function=CalledFunction(name=call.function.name or "", arguments=call.function.arguments or ""),
            )
            for position, call in enumerate(message.tool_calls or ())
        ]
        size, declared = sum(call.num_characters for call in message.tool_calls or ()), self._chat.asked.declared
        said = await off_loop(size, lambda: said_by(calls, declared))
        event = with_answer(self._chat.event, "", name=f"{self._chat.event.event_id}-{index}-calls")
        held = self._chat.hold_back(event, answer.content or answer.refusal or "")
        instead = await held.judge_apart(said)
        answer.verdicts.extend(held.verdicts)
        if not held.progress.is_over:
            answer.calls = calls
            return
        answer.reason = "content_filter" if held.progress.is_withheld else "stop"
        name = "refusal" if answer.refusal else "content"
        setattr(answer, name, (getattr(answer, name) or "") + instead)

    async def _finish(self, answer: _Answer) -> JudgedChoice:
        reason = answer.reason or name_reason(answer.written.finish_reason or "stop", has_calls=bool(answer.calls))
        is_withheld = reason == "content_filter" and answer.reason is not None
        message = ChatMessage(
            content="" if is_withheld else answer.content,
            refusal=None if is_withheld else answer.refusal,
            tool_calls=answer.calls,
        )
        tokens = None
        if answer.content and answer.content == answer.written.message.content and not is_withheld:
            size = 100 * len(answer.content) if answer.written.logprobs else 0
            text = answer.content
            tokens = await off_loop(size, lambda: find_logprobs(answer.written.logprobs, text))
        choice = ChatChoice(
            index=answer.written.index,
            message=message,
            finish_reason=reason,
            logprobs=None if tokens is None else Logprobs(content=tokens),
        )
        return JudgedChoice(choice=choice, verdicts=answer.verdicts)

"""One answer of a stream: what was written of it, and what of that may go out."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import UnansweredError
from protector_models.moderation.held_back import HeldBackAnswer
from protector_models.moderation.messages.tool_calls import call_text
from protector_models.moderation.verdict import Verdict
from services.http.guarded_chat.answers import CalledFunction, ChunkChoice, Delta, ToolCall, ToolCallDelta
from services.http.guarded_chat.paces import PaceMeter
from services.http.guarded_chat.written import FinishReason, WrittenCall, WrittenChoice, name_call, name_reason

_MAX_CHARACTERS = 4_000_000
"""Of an answer: it stands in the memory until it ends."""


@dataclass(slots=True, kw_only=True)
class _Text:
    """A text that is still written."""

    held: HeldBackAnswer
    written: str = ""


@dataclass(slots=True)
class _Call:
    """The call of a tool that is still written."""

    name: str = ""
    arguments: str = ""

    def add(self, written: WrittenCall) -> None:
        """Take more of it."""
        self.name += written.function.name or ""
        self.arguments += written.function.arguments or ""


@dataclass(slots=True, kw_only=True)
class HeldChoice:
    """Takes one answer as it is written, and gives what of it may go out.

    What it says goes out by sentences, why it refuses too; the calls of tools go out whole, at the end, or not at all.
    """

    event: ConversationEvent
    """The conversation; its id is the answer's alone."""
    hold_back: Callable[[ConversationEvent, str], HeldBackAnswer]
    """Gives what judges a text of it, behind what went out before."""
    declared: frozenset[str]
    """Names of parameters that the request declares."""
    request_id: str
    index: int
    pace: PaceMeter
    is_closed: bool = False
    """Whether nothing goes out any more."""
    reason: FinishReason | None = None
    """Why it ended, once it is closed."""
    _texts: dict[str, _Text] = field(default_factory=dict)
    _calls: dict[int, _Call] = field(default_factory=dict)
    _finish: str | None = None
    _has_news: bool = False
    _num_written: int = 0

    @property
    def has_news(self) -> bool:
        """Whether something was written since the last look."""
        return self._has_news and not self.is_closed

    @property
    def is_written(self) -> bool:
        """Whether the MLLM has said that it ends."""
        return self._finish is not None

    @property
    def num_waiting(self) -> int:
        """Characters of its texts that were written and not judged."""
        return sum(len(text.written) - text.held.progress.num_judged for text in self._texts.values())

    @property
    def verdicts(self) -> list[Verdict]:
        """On all that was judged of it."""
        return [verdict for text in self._texts.values() for verdict in text.held.verdicts]

    def take(self, written: WrittenChoice) -> None:
        """Take more of the answer; what comes behind its end is no part of it.

        Raises:
            UnansweredError: it is longer than any answer.
        """
        if self.is_closed or self._finish is not None:
            return
        for name, more in (("content", written.delta.content), ("refusal", written.delta.refusal)):
            if more:
                self._text(name).written += more
                self.pace.note_written(self.index, name, len(self._text(name).written))
        for call in written.delta.tool_calls or ():
            self._calls.setdefault(call.index, _Call()).add(call)
        self._num_written += len(written.delta.content or "") + len(written.delta.refusal or "")
        self._num_written += sum(call.num_characters for call in written.delta.tool_calls or ())
        if self._num_written > _MAX_CHARACTERS:
            raise UnansweredError(f"InvalidAnswer: more than {_MAX_CHARACTERS} characters")
        if all(name in self._texts and self._texts[name].written for name in ("content", "refusal")):
            # Either would have to be read beside the other.
            raise UnansweredError("InvalidAnswer: expected content or a refusal, got both")
        self._finish = written.finish_reason or None
        self._has_news = True

    async def release(self, *, is_whole: bool) -> list[ChunkChoice]:
        """Judge what is new; return what may go out now, in order.

        Args:
            is_whole: whether nothing more is written, whatever the answer itself says.

        Raises:
            PieceNotJudgedError: some of it cannot be judged.
            DependencyError: a model is away.
        """
        self._has_news = False
        is_whole = is_whole or self._finish is not None
        released: list[ChunkChoice] = []
        # A copy: more may be written meanwhile.
        for name, text in list(self._texts.items()):
            more = await text.held.read(text.written, is_whole=is_whole)
            if more:
                self.pace.note_released(self.index, name, text.held.progress.num_judged)
                released.append(self._chunk(_delta(name, more)))
            if text.held.progress.is_over:
                return [*released, self._close("content_filter" if text.held.progress.is_withheld else "stop")]
        if not is_whole:
            return released
        if self._calls:
            return [*released, *await self._release_calls()]
        return [*released, self._close(name_reason(self._finish or "stop", has_calls=False))]

    async def _release_calls(self) -> list[ChunkChoice]:
        name = "refusal" if "refusal" in self._texts else "content"
        held = self._text(name).held
        calls = [self._to_call(position, call) for position, call in sorted(self._calls.items())]
        instead = await held.judge_apart(said_by(calls, self.declared))
        if not held.progress.is_over:
            reason = name_reason(self._finish or "tool_calls", has_calls=True)
            return [self._chunk(Delta(tool_calls=calls)), self._close(reason)]
        end = self._close("content_filter" if held.progress.is_withheld else "stop")
        return [self._chunk(_delta(name, instead)), end] if instead else [end]

    def _to_call(self, position: int, call: _Call) -> ToolCallDelta:
        name = name_call(request_id=self.request_id, choice=self.index, position=position)
        function = CalledFunction(name=call.name, arguments=call.arguments)
        return ToolCallDelta(index=position, id=name, function=function)

    def _text(self, name: str) -> _Text:
        if name not in self._texts:
            # What went out before it is read with it.
            before = "".join(text.held.progress.delivered for text in self._texts.values())
            event = self.event.model_copy(update={"event_id": f"{self.event.event_id}-{name}"})
            self._texts[name] = _Text(held=self.hold_back(event, before))
        return self._texts[name]

    def _chunk(self, delta: Delta) -> ChunkChoice:
        return ChunkChoice(index=self.index, delta=delta)

    def _close(self, reason: FinishReason) -> ChunkChoice:
        self.is_closed, self.reason = True, reason
        return ChunkChoice(index=self.index, delta=Delta(), finish_reason=reason)


def said_by(calls: Sequence[ToolCall], declared: frozenset[str]) -> str:
    """Return all that calls of tools say, keys among it that no tool has declared."""
    said = [call_text({"function": call.function.model_dump()}) for call in calls]
    return "\n".join([*said, *(key for call in calls for key in _keys(call.function.arguments) if key not in declared)])


def _keys(arguments: str) -> list[str]:
    """Return the keys in arguments; of what is no JSON `call_text` reads everything."""
    keys: list[str] = []

    def note(members: list[tuple[str, object]]) -> None:
        keys.extend(key for key, _ in members)

    try:
        json.loads(arguments, object_pairs_hook=note)
    except (ValueError, RecursionError):
        return []
    return list(dict.fromkeys(keys))


def _delta(name: str, text: str) -> Delta:
    return Delta(refusal=text) if name == "refusal" else Delta(content=text)

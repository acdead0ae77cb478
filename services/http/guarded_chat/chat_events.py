"""The events of a guarded stream: its chunks, what was judged, how it ended; an outage is an event, too."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import structlog
from pydantic_core import to_json

from protector_models.moderation.errors import WeirError
from protector_models.moderation.ports import Metrics
from services.http.guarded_chat.answers import ChatCompletionChunk, ChunkChoice
from services.http.guarded_chat.guarded_stream import GuardedStream, counting_outages
from services.http.guarded_chat.held_choice import HeldChoice
from services.http.guarded_chat.open_chat import OpenChat
from services.http.guarded_chat.paces import PaceMeter
from services.http.reception import tell_fault
from services.http.refusals import ErrorEnvelope, RefusedRequestError, refuse_for, to_error

_DONE = b"data: [DONE]\n\n"

_log = structlog.get_logger(__name__)


class ChatEvents:
    """Writes one stream as server-sent events."""

    def __init__(self, chat: OpenChat, *, created: int, pace: PaceMeter, metrics: Metrics, route: str) -> None:
        """Put it together; nothing is asked.

        Args:
            chat: what is answered.
            created: when, in seconds since 1970.
            pace: measures it.
            metrics: counts results, and how streams end.
            route: where it was asked for.
        """
        self._chat = chat
        self._created = created
        self._pace = pace
        self._metrics = metrics
        self._route = route
        self._choices = [_held(chat, pace, index) for index in range(chat.asked.num_choices)]
        chunks = counting_outages(chat.model.stream(chat.asked.to_stream()), metrics)
        self._stream = GuardedStream(chunks, self._choices)
        self._end, self._last = "client_gone", b""

    async def begin(self) -> None:
        """Wait until the MLLM begins to write.

        Raises:
            UnansweredError: it does not answer this.
            DependencyError: it is away.
        """
        await self._stream.begin()

    async def run(self) -> AsyncGenerator[bytes, None]:
        """Yield the events, but for the last ones: how the stream ended."""
        try:
            async with aclosing(self._stream.run()) as stream:
                async for released in stream:
                    yield self._write(released)
            self._end, self._last = "done", self._last_events()
        except Exception as error:  # noqa: BLE001  (the answer has begun: this is how its reader is told)
            if not isinstance(error, WeirError):
                tell_fault(error, self._chat.request_id)
            self.break_off(refuse_for(error))

    def break_off(self, refusal: RefusedRequestError) -> None:
        """Have the stream end with why nothing more comes."""
        self._end, self._last = refusal.code, b"data: %b\n\n" % to_json(ErrorEnvelope(error=to_error(refusal)))

    @property
    def last(self) -> bytes:
        """The last events, once the others went out."""
        return self._last

    @property
    def end(self) -> str:
        """How it ended: "done", the code of an error, or "client_gone"."""
        return self._end

    async def give_up(self) -> None:
        """Have the MLLM write no more, before anything went out."""
        await self._stream.close()

    async def close(self) -> None:
        """Have the MLLM write no more, and count what became of the stream."""
        await self._stream.close()
        pace = self._pace.read()
        self._metrics.count("weir_http_streams_total", route=self._route, end=self._end)
        for choice in self._choices:
            # One that ends early is counted by what was judged of it.
            if choice.is_closed or choice.verdicts:
                action = self._chat.action_on(choice.verdicts)
                self._metrics.count("weir_http_results_total", route=self._route, action=action.value)
        _log.debug("stream", request_id=self._chat.request_id, end=self._end, **pace.model_dump())

    def _write(self, released: Sequence[ChunkChoice]) -> bytes:
        """Return chunks, one for each choice; what was judged is told with the last, where no chunk of its own does."""
        is_last = all(choice.is_closed for choice in self._choices) and self._chat.asked.moderation is None
        written = [self._chunk([choice]) for choice in released]
        if is_last and written:
            written[-1] = written[-1].model_copy(update=self._told())
        return b"".join(_event(chunk) for chunk in written)

    def _last_events(self) -> bytes:
        events: list[bytes] = []
        if self._chat.asked.moderation is not None:
            events.append(_event(self._chunk([]).model_copy(update=self._told())))
        if self._chat.asked.includes_usage and self._stream.usage is not None:
            events.append(_event(self._chunk([]).model_copy(update={"usage": self._stream.usage})))
        return b"".join([*events, _DONE])

    def _told(self) -> dict[str, object]:
        verdicts = {choice.index: choice.verdicts for choice in self._choices}
        return {"moderation": self._chat.tell(verdicts), "weir": self._pace.read()}

    def _chunk(self, choices: list[ChunkChoice]) -> ChatCompletionChunk:
        return ChatCompletionChunk(
            id=self._chat.id, created=self._created, model=self._chat.model.name, choices=choices
        )


def _held(chat: OpenChat, pace: PaceMeter, index: int) -> HeldChoice:
    return HeldChoice(
        event=chat.event.model_copy(update={"event_id": f"{chat.event.event_id}-{index}"}),
        hold_back=chat.hold_back,
        declared=chat.asked.declared,
        request_id=chat.request_id,
        index=index,
        pace=pace,
    )


def _event(chunk: ChatCompletionChunk) -> bytes:
    return b"data: %b\n\n" % to_json(chunk)

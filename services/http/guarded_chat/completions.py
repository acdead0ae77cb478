"""`POST /v1/chat/completions`: the MLLM's answers, whole or as a stream, of which nothing goes out unjudged."""

import time
from collections.abc import Callable

from pydantic_core import to_json

from protector_models.moderation.errors import UnansweredError
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.outages import failing_closed
from protector_models.moderation.ports import Metrics
from services.http.door import Visit
from services.http.guarded_chat.answers import ChatCompletion
from services.http.guarded_chat.chat_events import ChatEvents
from services.http.guarded_chat.open_chat import OpenChat, open_chat
from services.http.guarded_chat.paces import PaceMeter
from services.http.guarded_chat.whole_answers import WholeAnswers
from services.http.guarded_chat.written import read_written
from services.http.moderators import Moderators
from services.http.settings import ChatSettings

ROUTE = "/v1/chat/completions"
_RESULT_BYTES = 4_000
"""About as long is what is told of one answer."""


class GuardedChat:
    """Answers chats."""

    def __init__(
        self,
        settings: ChatSettings,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.perf_counter,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Put it together.

        Args:
            settings: how much, and how long.
            metrics: counts results, and how streams end.
            clock: seconds that never go back.
            now: seconds since 1970.
        """
        self._settings = settings
        self._metrics = metrics
        self._clock = clock
        self._now = now

    async def answer(self, visit: Visit, moderators: Moderators) -> bytes | ChatEvents:
        """Answer the chat that a call has in its body: a `ChatCompletion` in JSON, or a stream that has begun.

        Until the MLLM begins to write, what goes wrong with a stream is refused as it is otherwise.

        Args:
            visit: the call.
            moderators: judge, and have the MLLM.

        Raises:
            RefusedRequestError: the body is not as expected, or something cannot be judged.
            UnansweredError: the MLLM does not answer it.
            PieceNotJudgedError: something cannot be judged.
            DependencyError: a model is away.
        """
        pace = PaceMeter(self._clock)
        chat = await open_chat(visit, moderators, max_choices=self._settings.max_choices, metrics=self._metrics)
        if not chat.asked.stream:
            return await visit.wait_for(self._answer_whole(chat))
        events = ChatEvents(chat, created=int(self._now()), pace=pace, metrics=self._metrics, route=ROUTE)
        try:
            await visit.wait_for(events.begin())
        except BaseException:
            await events.give_up()
            raise
        return events

    async def _answer_whole(self, chat: OpenChat) -> bytes:
        with failing_closed(self._metrics, "mllm", 1):
            answer = await chat.model.complete(chat.asked.to_model())
        written = read_written(answer, num_choices=chat.asked.num_choices)
        if len({choice.index for choice in written.choices}) < max(1, len(written.choices)):
            raise UnansweredError("InvalidAnswer: expected each answer once, and at least one")
        judged = await WholeAnswers(chat).judge(written.choices)
        for choice in judged:
            action = chat.action_on(choice.verdicts)
            self._metrics.count("weir_http_results_total", route=ROUTE, action=action.value)
        completion = ChatCompletion(
            id=chat.id,
            created=int(self._now()),
            model=chat.model.name,
            choices=[choice.choice for choice in judged],
            usage=written.usage,
            moderation=chat.tell({choice.choice.index: choice.verdicts for choice in judged}),
        )
        size = _RESULT_BYTES * len(judged) + sum(len(choice.choice.message.content or "") for choice in judged)
        return await off_loop(size, lambda: to_json(completion))

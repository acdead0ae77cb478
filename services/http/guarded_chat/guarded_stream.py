"""A stream of answers: the MLLM writes on while what it wrote is judged; what was judged goes out."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, suppress

from pydantic import JsonValue

from protector_models.moderation.errors import DependencyError, UnansweredError
from protector_models.moderation.outages import failing_closed
from protector_models.moderation.ports import Metrics
from services.http.deadlines import give_up
from services.http.guarded_chat.answers import ChunkChoice, Delta
from services.http.guarded_chat.held_choice import HeldChoice
from services.http.guarded_chat.written import Usage, read_written

MAX_WAITING_CHARACTERS = 64_000
"""Written and not judged; beyond them no more is read of what the MLLM writes."""

_USAGE_S = 5.0
"""How long is waited for it behind the answers."""

Chunk = Mapping[str, JsonValue]


class GuardedStream:
    """Joins what an MLLM writes with the judgements on it."""

    def __init__(self, chunks: AsyncGenerator[Chunk, None], choices: Sequence[HeldChoice]) -> None:
        """Put a stream together; nothing is read.

        Args:
            chunks: as the MLLM writes them.
            choices: the answers, by their indexes.
        """
        self._chunks = chunks
        self._choices = choices
        self._is_written = False
        self.usage: Usage | None = None
        """How many tokens there were, once the MLLM has said so."""

    async def begin(self) -> None:
        """Wait until the MLLM begins to write.

        Raises:
            RefusedByModelError: it does not answer this.
            UnansweredError: what it wrote is no answer.
            DependencyError: it is away.
        """
        self._take(await anext(self._chunks, None))

    async def run(self) -> AsyncGenerator[Sequence[ChunkChoice], None]:
        """Yield what may go out, as soon as it may.

        Raises:
            UnansweredError: what the MLLM wrote is no answer.
            PieceNotJudgedError: something cannot be judged.
            DependencyError: the MLLM, or a model that judges, is away.
        """
        yield [ChunkChoice(index=choice.index, delta=Delta(role="assistant", content="")) for choice in self._choices]
        reading: asyncio.Future[Chunk | None] | None = None
        judging: asyncio.Future[list[ChunkChoice]] | None = None
        try:
            while judging is not None or not all(choice.is_closed for choice in self._choices):
                if reading is None and self._may_read():
                    reading = asyncio.ensure_future(anext(self._chunks, None))
                if judging is None and self._has_news():
                    judging = asyncio.ensure_future(self._release())
                waited = [task for task in (reading, judging) if task is not None]
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if judging is not None and judging.done():
                    released, judging = judging.result(), None
                    if released:
                        yield released
                if reading is not None and reading.done():
                    chunk, reading = reading.result(), None
                    self._take(chunk)
            # How many tokens there were is said at the very end.
            # What breaks off there, or does not come, has no part in the answer.
            with suppress(DependencyError, UnansweredError, TimeoutError):
                async with asyncio.timeout(_USAGE_S):
                    while not self._is_written and all(choice.is_written for choice in self._choices):
                        reading = reading or asyncio.ensure_future(anext(self._chunks, None))
                        chunk, reading = await reading, None
                        self._take(chunk)
        finally:
            await give_up(*[task for task in (reading, judging) if task is not None])

    async def close(self) -> None:
        """Have the MLLM write no more."""
        await self._chunks.aclose()

    def _may_read(self) -> bool:
        waiting = sum(choice.num_waiting for choice in self._choices)
        return not self._is_written and waiting <= MAX_WAITING_CHARACTERS

    def _has_news(self) -> bool:
        return self._is_written or any(choice.has_news for choice in self._choices)

    def _take(self, chunk: Chunk | None) -> None:
        if chunk is None:
            self._is_written = True
            return
        written = read_written(chunk, num_choices=len(self._choices))
        self.usage = written.usage or self.usage
        for choice in written.choices:
            self._choices[choice.index].take(choice)

    async def _release(self) -> list[ChunkChoice]:
        """Judge what is new in all answers; return what may go out."""
        is_whole = self._is_written
        changed = [choice for choice in self._choices if choice.has_news or (is_whole and not choice.is_closed)]
        tasks = [asyncio.ensure_future(choice.release(is_whole=is_whole)) for choice in changed]
        try:
            released = await asyncio.gather(*tasks)
        finally:
            # Where one breaks off, the others are given up.
            await give_up(*tasks)
        return [chunk for chunks in released for chunk in chunks]


async def counting_outages(chunks: AsyncGenerator[Chunk, None], metrics: Metrics) -> AsyncGenerator[Chunk, None]:
    """Yield what an MLLM writes, and count it where it turns out to be away.

    Raises:
        DependencyError: it is.
    """
    async with aclosing(chunks):
        with failing_closed(metrics, "mllm", 1):
            async for chunk in chunks:
                yield chunk

"""A model that writes texts, on a thread of its own and under a deadline."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Generic, TypeVar

from protector_models.moderation.errors import LateError, SuspectBatchError
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.running.deadlines import within_turn
from protector_models.running.kept_results import KeptResults
from protector_models.running.model_health import ModelHealth
from protector_models.running.split_runs import is_total_failure

ItemT = TypeVar("ItemT")
TextT = TypeVar("TextT")

IsWanted = Callable[[], bool]
"""Asked between tokens; once it says no, nobody waits for further texts and writing should end soon."""

_TURN = ""
"""In the place of a first piece: the thread has taken the call."""

_MAX_KEPT_TEXTS = 4_096
"""That wait for the next try of their batch."""


class WritingThread(Generic[TextT]):
    """Runs the calls of one model one after the other.

    A call that is cancelled while it waits is never computed; one that is late or cancelled while it is being computed
    ends within a token. What it has finished by then is kept: when the batch is tried again, only the rest is written.
    Thrown away, the next try would begin at nothing and be late again.
    """

    def __init__(self, name: str, *, deadline_s: float) -> None:
        """Take a thread once it is needed.

        Args:
            name: what the thread is called.
            deadline_s: how long a call may take once it is its turn; above 0.
        """
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._deadline_s = deadline_s
        self._health = ModelHealth()
        self._kept: KeptResults[TextT] = KeptResults(max_size=_MAX_KEPT_TEXTS)

    async def write(
        self,
        write: Callable[[Sequence[ItemT], IsWanted], Iterator[tuple[int, TextT | ItemFailure]]],
        items: Sequence[ItemT],
        *,
        key: Callable[[ItemT], str],
        waiting_for: str,
    ) -> list[TextT | ItemFailure]:
        """Return a text for each item, in order.

        Args:
            write: yields the place of each item that it is given, with its text once that is finished.
            items: what to write.
            key: of an item; texts of equal keys may stand for each other.
            waiting_for: the model, for messages.

        Raises:
            LateError: not all was written in time.
            SuspectBatchError: the model broke on all that it was given.
            ModelUnavailableError: `write` raised it, or the device had failed before.
        """
        self._health.require_hope(waiting_for)
        written = self._take_kept(items, key)
        missing = [place for place in range(len(items)) if place not in written]
        abandoned = threading.Event()

        def collect() -> None:
            with self._health.computing(allowed_s=self._deadline_s):
                for place, text in write([items[place] for place in missing], lambda: not abandoned.is_set()):
                    written[missing[place]] = text

        try:
            if missing:
                await within_turn(
                    self._deadline_s,
                    collect,
                    self._thread,
                    waiting_for=waiting_for,
                    require_hope=partial(self.require_hope, waiting_for),
                )
            outcomes = [written[place] for place in range(len(items))]
            self._health.take_note(outcomes)
            if outcomes and is_total_failure(outcomes):
                raise SuspectBatchError(f"{waiting_for}: the model broke on all of {len(outcomes)} it was given")
        except BaseException:
            self._keep(items, written.copy(), key)  # The thread may still be adding to it.
            raise
        finally:
            abandoned.set()
        return outcomes

    async def stream(
        self, write: Callable[[Callable[[str], None], IsWanted], None], *, waiting_for: str
    ) -> AsyncGenerator[str, None]:
        """Yield the pieces of one text as they are written; writing ends when the caller closes the iterator.

        Args:
            write: calls its first argument with each piece.
            waiting_for: the model, for the message.

        Raises:
            LateError: the text was not finished in time.
            ModelUnavailableError: `write` raised it.
        """
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        abandoned = threading.Event()

        def emit(piece: str | None) -> None:
            # The loop may be gone by the time an abandoned writing ends.
            if not abandoned.is_set():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def pass_on() -> None:
            emit(_TURN)
            try:
                with self._health.computing(allowed_s=self._deadline_s):
                    write(emit, lambda: not abandoned.is_set())
            finally:
                emit(None)

        writing = loop.run_in_executor(self._thread, pass_on)
        try:
            await pieces.get()
            ends_at = loop.time() + self._deadline_s
            while True:
                try:
                    async with asyncio.timeout_at(ends_at):
                        piece = await pieces.get()
                except TimeoutError as error:
                    raise LateError(f"{waiting_for}: not finished within {self._deadline_s:g} s") from error
                if piece is None:
                    break
                yield piece
            await writing  # Raises what ended the writing.
        finally:
            abandoned.set()
            if not writing.cancel():
                writing.add_done_callback(_retrieve)

    def require_hope(self, revision: str) -> None:
        """Look for what only a new process mends; nothing is computed.

        Raises:
            ModelUnavailableError: the device has failed, or a call does not end.
        """
        self._health.require_hope(revision)

    def close(self) -> None:
        """Give the thread up without waiting for what it computes."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _take_kept(self, items: Sequence[ItemT], key: Callable[[ItemT], str]) -> dict[int, TextT | ItemFailure]:
        if self._kept.is_empty():
            return {}
        found = {place: self._kept.take(_digest(key(item))) for place, item in enumerate(items)}
        return {place: text for place, text in found.items() if text is not None}

    def _keep(
        self, items: Sequence[ItemT], written: Mapping[int, TextT | ItemFailure], key: Callable[[ItemT], str]
    ) -> None:
        """Keep texts; what failed is tried again with the rest."""
        self._kept.keep(
            {_digest(key(items[place])): text for place, text in written.items() if not isinstance(text, ItemFailure)}
        )


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def _retrieve(writing: "asyncio.Future[None]") -> None:
    """Look at how an abandoned writing ended: asyncio would report an error that nobody asked for."""
    if not writing.cancelled():
        writing.exception()

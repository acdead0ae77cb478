"""A model that writes texts, on a thread of its own and under a deadline."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.verdict import ItemFailure

TextT = TypeVar("TextT")

IsWanted = Callable[[], bool]
"""Asked between tokens; once it says no, nobody waits for further texts and writing should end soon."""


class WritingThread:
    """Runs the calls of one model one after the other.

    A call that is late or cancelled while it waits is never computed; one that is being computed ends within a token.
    """

    def __init__(self, name: str, *, deadline_s: float) -> None:
        """Take a thread once it is needed.

        Args:
            name: what the thread is called.
            deadline_s: how long a call may take, waiting for the calls before it included; above 0.
        """
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._deadline_s = deadline_s

    async def write(
        self,
        write: Callable[[IsWanted], Iterator[tuple[int, TextT | ItemFailure]]],
        *,
        num_texts: int,
        late: str,
        waiting_for: str,
    ) -> list[TextT | ItemFailure]:
        """Return what `write` yields, in the order of the places that it yields along.

        What a late call has finished is returned, and the rest of it is late: thrown away, the next try of the same
        batch would begin at nothing and be late again.

        Args:
            write: yields each place, in [0, num_texts), with its text once it is finished.
            num_texts: how many there are; above 0.
            late: the error of those that are not finished in time.
            waiting_for: the model, for the message.

        Raises:
            ModelUnavailableError: no text was written in time, or `write` raised it.
        """
        written: dict[int, TextT | ItemFailure] = {}

        def collect(is_wanted: IsWanted) -> None:
            for place, text in write(is_wanted):
                written[place] = text

        abandoned = threading.Event()
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._deadline_s) as deadline:
                await loop.run_in_executor(self._thread, collect, lambda: not abandoned.is_set())
        except TimeoutError as error:
            if not deadline.expired():
                raise
            in_time = written.copy()  # The thread may still be adding to it.
            if all(isinstance(text, ItemFailure) for text in in_time.values()):
                raise ModelUnavailableError(f"{waiting_for}: no result within {self._deadline_s:g} s") from error
            failure = ItemFailure(
                error=late, message=f"not written within {self._deadline_s:g} s; others of the batch were"
            )
            written = {place: in_time.get(place, failure) for place in range(num_texts)}
        finally:
            abandoned.set()
        return [written[place] for place in range(num_texts)]

    async def stream(
        self, write: Callable[[Callable[[str], None], IsWanted], None], *, waiting_for: str
    ) -> AsyncGenerator[str, None]:
        """Yield the pieces of one text as they are written; writing ends when the caller closes the iterator.

        Args:
            write: calls its first argument with each piece.
            waiting_for: the model, for the message.

        Raises:
            ModelUnavailableError: the text was not finished in time, or `write` raised it.
        """
        loop = asyncio.get_running_loop()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        abandoned = threading.Event()

        def emit(piece: str | None) -> None:
            # The loop may be gone by the time an abandoned writing ends.
            if not abandoned.is_set():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def pass_on() -> None:
            try:
                write(emit, lambda: not abandoned.is_set())
            finally:
                emit(None)

        ends_at = loop.time() + self._deadline_s
        writing = loop.run_in_executor(self._thread, pass_on)
        try:
            while True:
                try:
                    async with asyncio.timeout_at(ends_at):
                        piece = await pieces.get()
                except TimeoutError as error:
                    raise ModelUnavailableError(f"{waiting_for}: not finished within {self._deadline_s:g} s") from error
                if piece is None:
                    break
                yield piece
            await writing  # Raises what ended the writing.
        finally:
            abandoned.set()
            if not writing.cancel():
                writing.add_done_callback(_retrieve)

    def close(self) -> None:
        """Give the thread up without waiting for what it computes."""
        self._thread.shutdown(wait=False, cancel_futures=True)


def _retrieve(writing: "asyncio.Future[None]") -> None:
    """Look at how an abandoned writing ended: asyncio would report an error that nobody asked for."""
    if not writing.cancelled():
        writing.exception()

"""The fake of an MLLM as a chat, for tests and for trying things out. Never reached unless somebody names it."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from typing import Any

from pydantic import JsonValue

Chunk = Mapping[str, JsonValue]


def chunk_of(
    content: str | None = None, *, index: int = 0, finish_reason: str | None = None, **delta: JsonValue
) -> Chunk:
    """Return a chunk of one choice."""
    said = {**delta} if content is None else {**delta, "content": content}
    return {"choices": [{"index": index, "delta": said, "finish_reason": finish_reason}]}


def echo(request: Chunk) -> Iterator[Chunk]:
    """Write the text of the last message, word by word."""
    messages = request["messages"]
    last = messages[-1] if isinstance(messages, list) else None
    text = last.get("content") if isinstance(last, dict) else None
    for word in re.findall(r"\s*\S+\s*", text if isinstance(text, str) else ""):
        yield chunk_of(word)
    yield chunk_of(finish_reason="stop")


class FakeChatModel:
    """Writes the chunks that a function says. Implements `ChatModel`."""

    def __init__(
        self,
        write: Callable[[Chunk], Iterable[Chunk]] = echo,
        *,
        name: str = "fake-chat",
        fields: frozenset[str] | None = None,
    ) -> None:
        """Make a chat.

        Args:
            write: gives the chunks of the answer to a request; what it raises breaks the answer off.
            name: the name it gives itself.
            fields: what it says that it heeds.
        """
        self._write = write
        self._name = name
        self._fields = fields
        self.asked: list[Chunk] = []
        """Every request, in order."""
        self.num_open = 0
        """Answers that are being written."""

    @property
    def name(self) -> str:
        """Return the name that it was given."""
        return self._name

    @property
    def fields(self) -> frozenset[str] | None:
        """Return the fields that it was given."""
        return self._fields

    async def complete(self, request: Chunk) -> Chunk:
        """Write the answer, and join its chunks."""
        return _join([chunk async for chunk in self.stream(request)])

    async def stream(self, request: Chunk) -> AsyncGenerator[Chunk, None]:
        """Write the answer; others have their turn before each chunk."""
        self.asked.append(request)
        self.num_open += 1
        try:
            for chunk in self._write(request):
                await asyncio.sleep(0)
                yield chunk
        finally:
            self.num_open -= 1


def _join(chunks: Iterable[Chunk]) -> Chunk:
    """Return the completion of which a model wrote the chunks; a call of a tool comes in one chunk."""
    choices: dict[int, dict[str, Any]] = {}
    others: dict[str, JsonValue] = {}
    for chunk in chunks:
        others.update({name: value for name, value in chunk.items() if name != "choices"})
        written: Any = chunk.get("choices", [])
        for part in written:
            choice = choices.setdefault(
                part["index"], {"index": part["index"], "message": {"role": "assistant"}, "finish_reason": None}
            )
            choice["finish_reason"] = part.get("finish_reason") or choice["finish_reason"]
            for name, value in part["delta"].items():
                if name != "role":
                    choice["message"][name] = choice["message"].get(name, type(value)()) + value
    return {**others, "choices": [choices[index] for index in sorted(choices)]}

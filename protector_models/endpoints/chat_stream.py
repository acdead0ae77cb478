"""An answer of a chat endpoint that comes piece by piece."""

from collections.abc import AsyncGenerator, AsyncIterable, Mapping

from pydantic import BaseModel, JsonValue, ValidationError
from pydantic_core import from_json

from protector_models.endpoints.server_sent_events import read_events
from protector_models.moderation.errors import ModelUnavailableError, UnansweredError

_DONE = "[DONE]"


class _Delta(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    index: int = 0
    delta: _Delta = _Delta()
    finish_reason: str | None = None


class _Chunk(BaseModel):
    """What is read of a piece; everything else in it is ignored."""

    choices: list[_Choice] = []
    error: JsonValue = None


async def read_pieces(chunks: AsyncIterable[bytes], *, source: str) -> AsyncGenerator[str, None]:
    """Yield the pieces of the answer that a body holds; none of them is empty.

    A model that declines may speak in `refusal`: that is its answer where it says nothing else.

    Args:
        chunks: the body, cut anywhere.
        source: the model, for messages.

    Raises:
        UnansweredError: the endpoint says that it failed, what it sends is no answer, or the answer is empty.
        ModelUnavailableError: the body ends before the answer does.
    """
    has_content, is_finished = False, False
    refusal = ""
    async for data in read_events(chunks):
        if data.strip() == _DONE:
            is_finished = True
            break
        for choice in _parse(data).choices[:1]:
            refusal += choice.delta.refusal or ""
            is_finished = is_finished or bool(choice.finish_reason)
            if choice.delta.content:
                has_content = True
                yield choice.delta.content
    if not is_finished:
        raise ModelUnavailableError(f"{source}: the connection ended before the answer did")
    if not has_content and not refusal:
        raise UnansweredError("EmptyAnswer: expected some text")
    if not has_content:
        yield refusal


async def read_chunks(chunks: AsyncIterable[bytes], *, source: str) -> AsyncGenerator[Mapping[str, JsonValue], None]:
    """Yield the objects of the answer that a body holds, as they are.

    Args:
        chunks: the body, cut anywhere.
        source: the model, for messages.

    Raises:
        UnansweredError: the endpoint says that it failed, or what it sends is no answer.
        ModelUnavailableError: the body ends before the answer does.
    """
    begun: set[int] = set()
    finished: set[int] = set()
    async for data in read_events(chunks):
        if data.strip() == _DONE:
            return
        for choice in _parse(data).choices:
            begun.add(choice.index)
            # Some endpoints send an empty one in each chunk.
            if choice.finish_reason:
                finished.add(choice.index)
        yield from_json(data)
    if not finished or begun - finished:
        raise ModelUnavailableError(f"{source}: the connection ended before the answer did")


def _parse(data: str) -> _Chunk:
    try:
        chunk = _Chunk.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UnansweredError(f"InvalidAnswer: {place or 'event'}: {first['type']}") from error
    if chunk.error is not None:
        raise UnansweredError("EndpointError: the endpoint failed while it answered")
    return chunk

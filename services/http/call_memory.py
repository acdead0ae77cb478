"""What is remembered between the requests of one call that a gateway guards: its question, and how far its answers are.

It lies where the verdict cache is, for a short time, under hashed names. Whatever is lost is worked out anew, or done
without.
"""

import hashlib
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter
from pydantic_core import from_json, to_json

from protector_models.moderation.held_back import Progress
from protector_models.moderation.off_loop import off_loop
from protector_models.moderation.ports import VerdictCache

KEPT_S = 900
"""How long is remembered how far answers are, from the last time on: longer than a model is silent."""
QUESTION_KEPT_S = 3_600
"""How long a question is remembered: longer than its answer takes to be written."""
_MAX_QUESTION_BYTES = 2_000_000
"""Of a packed question: a larger one is not kept, since all of it is read again for each piece of its answer."""
_MAX_RATIO = 1_000
"""So much smaller at most is what zlib packs."""
_QUICKLY = 1
"""How hard is compressed: texts grow small all the same, and images hardly at all."""


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KeptEnding(_Kept):
    """What would go out for an end that may still change, where that is not the end itself."""

    num_characters: int
    """Of the answer, as far as it was written then."""
    digest: str
    """Of those."""
    delivered: str
    """What would go out for what is not settled; empty where nothing may."""


class KeptAnswer(_Kept):
    """How far an answer is. What went out as it was written is told by a digest alone."""

    context: str
    """A digest of what it was judged by: the question, and the policy's revision."""
    num_judged: int
    digest: str
    """Of the characters that were judged."""
    delivered: str | None
    """What went out in their place; None: they themselves."""
    is_over: bool
    ending: KeptEnding | None

    def is_of(self, text: str) -> bool:
        """Tell whether this is how far that answer was."""
        return begins(text, self.num_judged, self.digest)

    def progress(self, text: str) -> Progress:
        """Return it as it was, of the answer that it is of."""
        delivered = text[: self.num_judged] if self.delivered is None else self.delivered
        return Progress(
            num_judged=self.num_judged, delivered=delivered, num_released=len(delivered), is_over=self.is_over
        )


_ANSWERS = TypeAdapter(tuple[KeptAnswer, ...])


def digest_of(text: str) -> str:
    """Return what tells a text from others."""
    return hashlib.sha256(text.encode()).hexdigest()


def begins(text: str, num_characters: int, digest: str) -> bool:
    """Tell whether a text begins with so many characters of that digest."""
    return num_characters <= len(text) and digest_of(text[:num_characters]) == digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Recalled:
    """What is still known of a call."""

    messages: list[JsonValue] | None
    """Its question; None where it is not known."""
    answers: tuple[KeptAnswer, ...] | None
    """How far each answer was; None where nothing of it was seen, or what was seen is lost."""
    question_digest: str
    """Tells the question from others; empty where it is not known."""
    num_bytes: int
    """Of the question."""

    def knows(self, context: str) -> bool:
        """Tell whether answers were judged by the same question and policy before."""
        return any(answer.context == context for answer in self.answers or ())


class CallMemory:
    """Remembers one call."""

    def __init__(self, cache: VerdictCache, *, tenant: str, call_id: str | None) -> None:
        """Begin with nothing looked up.

        Args:
            cache: keeps it.
            tenant: whose call it is: nobody else finds it.
            call_id: its name; None: nothing can be remembered.
        """
        self._cache = cache
        name = hashlib.sha256(to_json([tenant, call_id])).hexdigest()
        self._is_named = call_id is not None
        self._question = f"call:{name}:question"
        self._answers = f"call:{name}:answers"

    async def keep_question(self, messages: Sequence[JsonValue]) -> None:
        """Remember the messages that are answered, unless they are too many bytes."""
        if self._is_named:
            written = to_json(messages)
            packed = await off_loop(len(written), lambda: zlib.compress(written, _QUICKLY))
            if len(packed) <= _MAX_QUESTION_BYTES:
                await self._cache.put_many({self._question: packed}, ttl_s=QUESTION_KEPT_S)

    async def keep_answers(self, answers: Sequence[KeptAnswer]) -> None:
        """Remember how far the answers are."""
        if self._is_named:
            packed = zlib.compress(_ANSWERS.dump_json(tuple(answers)), _QUICKLY)
            await self._cache.put_many({self._answers: packed}, ttl_s=KEPT_S)

    async def recall(self) -> Recalled:
        """Return what is known. What somebody else wrote there counts as nothing."""
        if not self._is_named:
            return Recalled(messages=None, answers=None, question_digest="", num_bytes=0)
        question, answers = await self._cache.get_many([self._question, self._answers])
        packed = question or b""
        messages, digest, num_bytes = await off_loop(_MAX_RATIO * len(packed), lambda: _read_messages(packed))
        return Recalled(
            messages=messages,
            answers=None if answers is None else _read_answers(answers),
            question_digest=digest,
            num_bytes=num_bytes,
        )


def _read_messages(packed: bytes) -> tuple[list[JsonValue] | None, str, int]:
    """Return messages, their digest, and how many bytes they are."""
    try:
        written = zlib.decompress(packed)
        read = from_json(written)
    except (zlib.error, ValueError):
        return None, "", 0
    if not isinstance(read, list):
        return None, "", 0
    return read, hashlib.sha256(written).hexdigest(), len(written)


def _read_answers(packed: bytes) -> tuple[KeptAnswer, ...] | None:
    try:
        return _ANSWERS.validate_json(zlib.decompress(packed))
    except (zlib.error, ValueError):
        return None

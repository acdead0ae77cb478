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
"""How long a call is remembered: longer than an answer takes to be written."""
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
        return Progress(num_judged=self.num_judged, delivered=delivered, is_over=self.is_over)


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
    num_bytes: int
    """Of the question, packed."""


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
        name = hashlib.sha256(f"{tenant}\n{call_id}".encode()).hexdigest()
        self._is_named = call_id is not None
        self._question = f"call:{name}:question"
        self._answers = f"call:{name}:answers"

    async def keep_question(self, messages: Sequence[JsonValue]) -> None:
        """Remember the messages that are answered."""
        if self._is_named:
            written = to_json(messages)
            packed = await off_loop(len(written), lambda: zlib.compress(written, _QUICKLY))
            await self._cache.put_many({self._question: packed}, ttl_s=KEPT_S)

    async def keep_answers(self, answers: Sequence[KeptAnswer]) -> None:
        """Remember how far the answers are."""
        if self._is_named:
            packed = zlib.compress(_ANSWERS.dump_json(tuple(answers)), _QUICKLY)
            await self._cache.put_many({self._answers: packed}, ttl_s=KEPT_S)

    async def recall(self) -> Recalled:
        """Return what is known. What somebody else wrote there counts as nothing."""
        if not self._is_named:
            return Recalled(messages=None, answers=None, num_bytes=0)
        question, answers = await self._cache.get_many([self._question, self._answers])
        messages = None if question is None else await off_loop(len(question), lambda: _read_messages(question))
        return Recalled(
            messages=messages,
            answers=None if answers is None else _read_answers(answers),
            num_bytes=len(question or b""),
        )


def _read_messages(packed: bytes) -> list[JsonValue] | None:
    try:
        read = from_json(zlib.decompress(packed))
    except (zlib.error, ValueError):
        return None
    return read if isinstance(read, list) else None


def _read_answers(packed: bytes) -> tuple[KeptAnswer, ...] | None:
    try:
        return _ANSWERS.validate_json(zlib.decompress(packed))
    except (zlib.error, ValueError):
        return None

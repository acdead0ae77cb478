"""Answers that are given again where the same request comes twice (`Idempotency-Key`)."""

import hashlib
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protector_models.moderation.ports import VerdictCache
from services.http.refusals import RefusedRequestError

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a request was answered."""

    body: bytes
    is_repeated: bool
    """Whether it was made for an earlier request with the same key."""


class Idempotency:
    """Remembers answers by their keys, for as long as the verdict cache keeps them.

    Only answers are kept, never refusals. Losing one is allowed: the request is then answered anew. Two requests with
    one key that come at the same time to one process are one request, and one that is told to wait.
    """

    def __init__(self) -> None:
        self._in_work: set[str] = set()

    async def answer_once(
        self, key: str | None, request: bytes, make: Callable[[], Awaitable[bytes]], *, tenant: str, cache: VerdictCache
    ) -> Answer:
        """Return the answer that the key stands for, or make it.

        Args:
            key: as the caller gave it; None: it gave none, and nothing is kept.
            request: all of the request that decides about its answer.
            make: makes the answer.
            tenant: whose key it is.
            cache: keeps answers.

        Raises:
            RefusedRequestError: the key is none, stands for another request, or is in work.
            Exception: whatever `make` raised.
        """
        if key is None:
            return Answer(body=await make(), is_repeated=False)
        if not _KEY.fullmatch(key):
            raise RefusedRequestError(
                "invalid_value", "Idempotency-Key: expected 1 to 255 visible ASCII characters", "Idempotency-Key"
            )
        place = "idempotent:" + hashlib.sha256(f"{tenant}\n{key}".encode()).hexdigest()
        digest = hashlib.sha256(request).digest()
        if place in self._in_work:
            raise RefusedRequestError(
                "idempotency_key_in_use", "the request that came with this Idempotency-Key is in work"
            )
        self._in_work.add(place)
        try:
            return await self._answer(place, digest, make, cache)
        finally:
            self._in_work.remove(place)

    async def _answer(
        self, place: str, digest: bytes, make: Callable[[], Awaitable[bytes]], cache: VerdictCache
    ) -> Answer:
        (kept,) = await cache.get_many([place])
        if kept is not None and len(kept) > _DIGEST_BYTES:
            if kept[:_DIGEST_BYTES] != digest:
                raise RefusedRequestError(
                    "idempotency_key_reused", "expected the request that first came with this Idempotency-Key"
                )
            return Answer(body=kept[_DIGEST_BYTES:], is_repeated=True)
        body = await make()
        await cache.put_many({place: digest + body})
        return Answer(body=body, is_repeated=False)

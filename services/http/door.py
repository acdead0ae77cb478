"""The door: every call is let in here, or refused, in the same order: who, what, how many, how much, how long."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from starlette.requests import Request

from services.http.admission import Admission
from services.http.bodies import read_body, require_json_content
from services.http.deadlines import seconds_allowed, seconds_allowed_for_stream, while_waited_for
from services.http.keys import ApiKeys
from services.http.rate_limits import RateLimits
from services.http.settings import HttpSettings
from services.stores.charges import Charges

T = TypeVar("T")


class Visit:
    """A call that was let in."""

    def __init__(
        self,
        request: Request,
        *,
        tenant: str | None,
        body: bytes,
        ends_at_s: float,
        streams_until_s: float,
        limits: RateLimits,
    ) -> None:
        self.request = request
        self.tenant = tenant
        """Of its API key; None where there are no keys."""
        self.body = body
        self._ends_at_s = ends_at_s
        self.streams_until_s = streams_until_s
        """By the event loop's clock, when an answer is to be finished that is sent while it is made."""
        self._limits = limits

    @property
    def id(self) -> str:
        """The request's id, as it is answered and logged."""
        found: str = self.request.state.request_id
        return found

    async def charge_items(self, num_items: int) -> None:
        """Count the texts, conversations or events in it, as soon as their number is known.

        Raises:
            RefusedRequestError: they are more than the tenant may ask for.
        """
        await self._limits.charge_items(self.tenant, num_items, self.request.state.answer_headers)

    async def wait_for(self, work: Awaitable[T]) -> T:
        """Return what some work gives, while the caller waits and its time is not over.

        Raises:
            RefusedRequestError: the time is over.
            ClientGoneError: the caller hung up.
            Exception: whatever the work raised.
        """
        return await while_waited_for(work, gone=self.wait_until_gone(), ends_at_s=self._ends_at_s)

    async def wait_until_gone(self) -> None:
        """Return when the caller has hung up."""
        while (await self.request.receive())["type"] != "http.disconnect":
            continue


class Door:
    """Lets calls in."""

    def __init__(self, settings: HttpSettings, charges: Charges) -> None:
        self._settings = settings
        self._limits = RateLimits(settings.rate_limits, charges)
        self._keys = ApiKeys(settings)
        self.admission = Admission(
            max_requests=settings.max_concurrent_requests, max_bytes=settings.max_total_body_bytes
        )

    def identify(self, request: Request) -> str | None:
        """Return the tenant of a caller; None where any may be named.

        Raises:
            RefusedRequestError: it may not call.
        """
        return self._keys.find_tenant(request)

    @asynccontextmanager
    async def admit(self, request: Request, *, most_s: float | None = None) -> AsyncIterator[Visit]:
        """Let a call with a JSON body in, and keep its place while the block runs.

        Args:
            request: the call.
            most_s: how long it may take; None: as long as any.

        Raises:
            RefusedRequestError: it is not let in.
            ClientGoneError: it hung up before it had said all.
        """
        tenant = self._keys.find_tenant(request)
        require_json_content(request)
        settings, now_s = self._settings, asyncio.get_running_loop().time()
        most_s = settings.deadline_s if most_s is None else most_s
        ends_at_s = now_s + seconds_allowed(request.headers, most_s=most_s)
        streams_until_s = now_s + seconds_allowed_for_stream(request.headers, most_s=most_s)
        with self.admission.enter() as place:
            await self._limits.charge_request(tenant, request.state.answer_headers)
            body = await read_body(
                request,
                max_bytes=settings.max_body_bytes,
                ends_at_s=min(ends_at_s, now_s + settings.body_timeout_s),
                hold=place.hold,
            )
            yield Visit(
                request,
                tenant=tenant,
                body=body,
                ends_at_s=ends_at_s,
                streams_until_s=streams_until_s,
                limits=self._limits,
            )

"""How much a tenant may ask for in a minute: requests, and what is in them."""

from collections.abc import Mapping
from math import ceil

from services.http.refusals import RefusedRequestError
from services.http.settings import RateLimitSettings
from services.stores.charges import Charge, Charges


class RateLimits:
    """Counts what tenants ask for, and refuses what is more than their limits."""

    def __init__(self, settings: RateLimitSettings, charges: Charges) -> None:
        """Put it together.

        Args:
            settings: the limits.
            charges: count, for as many processes as share them.
        """
        self._settings = settings
        self._charges = charges

    async def charge_request(self, tenant: str | None, headers: dict[str, str]) -> None:
        """Count a request.

        Args:
            tenant: whose it is; None: of all callers together.
            headers: gets those that the answer has, whatever it is.

        Raises:
            RefusedRequestError: it is one too many.
        """
        limit = self._settings.of(tenant).requests_per_minute
        if limit is not None:
            await self._charge("requests", tenant, 1, limit, headers)

    async def charge_items(self, tenant: str | None, num_items: int, headers: dict[str, str]) -> None:
        """Count what is in a request; arguments as in `charge_request`.

        Raises:
            RefusedRequestError: it is more than there may be now, or ever.
        """
        limit = self._settings.of(tenant).items_per_minute
        if limit is None:
            return
        if num_items > limit:
            raise RefusedRequestError("too_many_items", f"expected at most {limit} in one minute, got {num_items}")
        await self._charge("items", tenant, num_items, limit, headers)

    async def _charge(self, what: str, tenant: str | None, amount: int, limit: int, headers: dict[str, str]) -> None:
        charge = await self._charges.charge(f"{what}:{tenant or ''}", amount, limit=limit)
        headers.update(_headers(what, charge))
        if not charge.is_allowed:
            raise RefusedRequestError(
                "rate_limited",
                f"expected at most {limit} {what} a minute",
                retry_after_s=max(1, ceil(charge.retry_after_s)),
            )


def _headers(what: str, charge: Charge) -> Mapping[str, str]:
    return {
        f"x-ratelimit-limit-{what}": str(charge.limit),
        f"x-ratelimit-remaining-{what}": str(charge.remaining),
        f"x-ratelimit-reset-{what}": _write_duration(charge.reset_s),
    }


def _write_duration(seconds: float) -> str:
    """Write a time as OpenAI does: "250ms", "7s", "1m2s"."""
    if seconds < 1:
        return f"{ceil(seconds * 1_000)}ms"
    minutes, rest = divmod(ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"

"""Who calls: the tenant of an API key, or anybody on this machine where there are no keys."""

import hashlib

from starlette.requests import Request

from services.http.refusals import RefusedRequestError
from services.http.settings import HttpSettings, is_loopback

_SCHEME = "bearer "


class ApiKeys:
    """The keys that are configured, by their hashes."""

    def __init__(self, settings: HttpSettings) -> None:
        self._tenants = {key.sha256: key.tenant for key in settings.keys}

    def find_tenant(self, request: Request) -> str | None:
        """Return the tenant of a request's key; None where there are no keys, and any tenant may be named.

        Raises:
            RefusedRequestError: there is no key that is known; or there are none, and the caller is another machine.
        """
        if not self._tenants:
            # Where Serve runs already, it listens where somebody else has told it to.
            if request.client is None or not is_loopback(request.client.host):
                raise RefusedRequestError(
                    "not_from_this_machine", "no API keys are configured: expected a caller on the same machine"
                )
            return None
        # What is looked up is a hash: how long that takes tells nothing of the keys.
        key = _find_key(request)
        tenant = self._tenants.get(hashlib.sha256(key.encode("latin-1")).hexdigest())
        if tenant is None:
            raise RefusedRequestError("invalid_api_key", "the API key is not known")
        return tenant


def _find_key(request: Request) -> str:
    """Return the key that a request comes with; gateways send it in a header of its own.

    Raises:
        RefusedRequestError: there is none.
    """
    written = request.headers.get("authorization")
    if written is None and (given := request.headers.get("x-api-key")) is not None:
        return given.strip()
    if (written or "")[: len(_SCHEME)].lower() != _SCHEME:
        raise RefusedRequestError(
            "invalid_api_key", "expected an API key: Authorization: Bearer KEY, or x-api-key: KEY"
        )
    return (written or "")[len(_SCHEME) :].strip()

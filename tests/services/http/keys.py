"""API keys of two tenants."""

import hashlib

from services.http.settings import ApiKeySettings


def _key_of(tenant: str) -> str:
    return f"sk-weir-{tenant}-0123456789"


def bearer(tenant: str) -> dict[str, str]:
    """Return the header with a tenant's key."""
    return {"authorization": f"Bearer {_key_of(tenant)}"}


KEYS = tuple(
    ApiKeySettings(tenant=tenant, sha256=hashlib.sha256(_key_of(tenant).encode()).hexdigest())
    for tenant in ("acme", "kids")
)

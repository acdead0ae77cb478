"""Settings of the HTTP front: where it listens, who may call, how much at once and for how long."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from services.settings import Seconds


class ApiKeySettings(BaseModel):
    """A key and whose it is. The key itself stands nowhere."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tenant: Annotated[str, Field(min_length=1, max_length=512)]
    """Whose rules apply to what is called with the key."""
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    """The SHA-256 of the key, in small hexadecimal letters. A key is random (32 bytes), so that no hash is reversed by
    trying."""


class ChatSettings(BaseModel):
    """Guarded chat (`docs/http.md`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    deadline_s: Seconds = 300.0
    """How long an answer may take, in place of `http.deadline_s`. A client may ask for less."""
    keep_alive_s: Seconds = 5.0
    """After so long without a word a stream says that more comes."""
    max_choices: Annotated[int, Field(ge=1, le=128)] = 8
    """Answers to one request (`n`)."""


class TlsSettings(BaseModel):
    """The certificate that callers are shown; the files lie on the machine that listens."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    certificate_file: Path
    """PEM: the certificate, then those that lead to one that callers know."""
    key_file: Path
    """PEM: its private key."""
    key_password: SecretStr | None = None
    """Of a key that is locked."""


class RateLimit(BaseModel):
    """How much one tenant may ask for in any minute."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    requests_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Requests with a body, whatever becomes of them; null: any number."""
    items_per_minute: Annotated[int, Field(ge=1)] | None = None
    """Texts, conversations and events in them; null: any number."""


class RateLimitSettings(BaseModel):
    """How much tenants may ask for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: RateLimit = Field(default_factory=RateLimit)
    """Of each tenant that has none of its own; without `keys`, of all callers together."""
    tenants: dict[str, RateLimit] = Field(default_factory=dict)
    """By name. What a tenant has of its own stands in the place of the default, the whole of it."""

    def of(self, tenant: str | None) -> RateLimit:
        """Return the limit of a tenant."""
        return self.tenants.get(tenant or "", self.default)


Ingress = Literal["proxy", "haproxy"]
Port = Annotated[int, Field(ge=1, le=65_535)]


class HaproxySettings(BaseModel):
    """HAProxy's own pages. It shows them on all interfaces, whatever `http.host` is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stats_port: Port = 8404
    """Its statistics, at `/stats`."""
    metrics_port: Port = 9101
    """Its metrics, at `/metrics`."""


class HttpSettings(BaseModel):
    """The HTTP front (`docs/http.md`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    host: Annotated[str, Field(min_length=1)] = "127.0.0.1"
    """The address that is listened at: of this machine alone (127.0.0.1, ::1) unless `keys` are set."""
    port: Port = 8080
    tls: TlsSettings | None = None
    """Answer HTTPS, and nothing else; null: HTTP."""
    ingress: Ingress = "proxy"
    """What Ray Serve takes requests with: its Python proxy, or HAProxy, which is faster and wants a fixed number of
    front replicas. Ray is told when it starts: one that runs already must have been started with the same."""
    haproxy: HaproxySettings = Field(default_factory=HaproxySettings)
    """Looked at with `ingress: haproxy` alone."""
    keys: tuple[ApiKeySettings, ...] = ()
    """Who may call. Empty: everybody on this machine, and nobody else."""
    rate_limits: RateLimitSettings = Field(default_factory=RateLimitSettings)
    """How much each tenant may ask for, over all replicas together; without Redis (`redis.url`) of each replica."""
    max_body_bytes: Annotated[int, Field(ge=1)] = 16_000_000
    """The largest body of a request; of one that is larger no more is read."""
    max_total_body_bytes: Annotated[int, Field(ge=1)] = 128_000_000
    """Bodies of all requests that a replica has in hand; beyond them requests are refused as overload."""
    max_concurrent_requests: Annotated[int, Field(ge=1)] = 64
    """Requests that a replica has in hand; beyond them requests are refused as overload."""
    max_items: Annotated[int, Field(ge=1)] = 1_000
    """Texts, conversations or events in one request."""
    body_timeout_s: Seconds = 20.0
    """How long a request's body may take to come."""
    deadline_s: Seconds = 60.0
    """How long a request may take, its body included. A client may ask for less (`docs/http.md`)."""
    retry_initial_s: Seconds = 0.1
    """About how long is waited before a model that is away is asked again."""
    retry_max_s: Seconds = 1.0
    """The longest such wait."""
    retry_give_up_s: Seconds = 3.0
    """How long a model that is away is waited for within a request, before that is refused."""

    chat: ChatSettings = Field(default_factory=ChatSettings)

    @model_validator(mode="after")
    def _require_keys_beyond_this_machine(self) -> Self:
        if not self.keys and not is_loopback(self.host):
            raise ValueError(
                "host: expected a loopback address, such as 127.0.0.1, where keys is empty, got another one"
            )
        return self

    @model_validator(mode="after")
    def _require_plain_http_behind_haproxy(self) -> Self:
        if self.ingress == "haproxy" and self.tls is not None:
            raise ValueError("tls: expected null with ingress haproxy, which asks the front's replicas for plain HTTP")
        return self

    @model_validator(mode="after")
    def _require_distinct_ports(self) -> Self:
        ports = (self.port, self.haproxy.stats_port, self.haproxy.metrics_port)
        if self.ingress == "haproxy" and len(set(ports)) < len(ports):
            raise ValueError(
                f"haproxy: expected stats_port and metrics_port to differ from each other and from port, got {ports}"
            )
        return self

    @model_validator(mode="after")
    def _require_room_for_a_body(self) -> Self:
        if self.max_total_body_bytes < self.max_body_bytes:
            raise ValueError(
                f"max_total_body_bytes: expected at least max_body_bytes ({self.max_body_bytes}), "
                f"got {self.max_total_body_bytes}"
            )
        return self

    @model_validator(mode="after")
    def _require_limits_of_tenants_with_keys(self) -> Self:
        if unknown := sorted(set(self.rate_limits.tenants) - {key.tenant for key in self.keys}):
            raise ValueError(f"rate_limits.tenants: expected tenants of keys only, got {unknown[0]!r}")
        return self

    @model_validator(mode="after")
    def _require_distinct_keys(self) -> Self:
        if len({key.sha256 for key in self.keys}) < len(self.keys):
            raise ValueError("keys: expected each sha256 once, got one twice")
        return self


def is_loopback(host: str) -> bool:
    """Tell whether an address is of this machine alone."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False

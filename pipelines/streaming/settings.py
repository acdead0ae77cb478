"""Settings of the broker and of the streaming worker."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")


def _legal_topic(name: str) -> str:
    if not _TOPIC.fullmatch(name) or name in {".", ".."}:
        raise ValueError("expected the name of a topic: 1 to 249 letters of ASCII, digits, '.', '_' and '-'")
    return name


Seconds = Annotated[float, Field(gt=0, le=86_400)]
Topic = Annotated[str, AfterValidator(_legal_topic)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Section):
    """How to reach Kafka. The security fields are passed to kafka-python as they stand."""

    bootstrap_servers: Annotated[tuple[str, ...], Field(min_length=1)] = ("localhost:9092",)
    """HOST:PORT of one or more brokers."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "GSSAPI", "OAUTHBEARER"] | None = None
    sasl_username: str | None = None
    sasl_password: SecretStr | None = None
    ssl_cafile: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_password: SecretStr | None = None
    ssl_check_hostname: bool = True
    api_version: tuple[int, int] | tuple[int, int, int] | None = None
    """Skip version negotiation; only the embedded broker of the demonstration needs it."""
    check_crcs: bool = True
    """Verify the checksums of what is read; only the embedded broker of the demonstration writes wrong ones."""


class DeadLetterSettings(_Section):
    """Where records go that cannot be moderated, and when so many of them stop the worker."""

    topic: Topic = "weir.dead-letters"
    runaway_window: Annotated[int, Field(ge=1)] = 1_000
    """How many of the last records are looked at."""
    runaway_share: Annotated[float, Field(gt=0, le=1)] | None = 0.9
    """The worker stops when more than this share of a full window are dead letters; null never stops it."""


class StreamSettings(_Section):
    """What the streaming worker reads, writes and holds in flight."""

    source_topic: Topic = "weir.conversations"
    sink_topic: Topic = "weir.moderated"
    group: Annotated[str, Field(min_length=1)] = "weir"
    """The consumer group; also the stem of transactional and static member ids."""
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where a new consumer group starts."""
    dead_letters: DeadLetterSettings = Field(default_factory=DeadLetterSettings)
    batch_max_records: Annotated[int, Field(ge=1)] = 128
    """Records in one micro-batch: one call of the Moderator."""
    batch_max_bytes: Annotated[int, Field(ge=1)] = 1_000_000
    """Bytes in one micro-batch; a larger record is a batch of its own."""
    concurrent_batches: Annotated[int, Field(ge=1)] = 4
    """Micro-batches that are moderated at the same time."""
    in_flight_max_records: Annotated[int, Field(ge=1)] = 4_000
    """Records read and not yet published; at this bound the partitions are paused."""
    in_flight_max_bytes: Annotated[int, Field(ge=1)] = 64_000_000
    publish_max_records: Annotated[int, Field(ge=1)] = 2_000
    """Results published in one transaction."""
    publish_interval_s: Annotated[float, Field(ge=0, le=60)] = 0.1
    """How long finished results wait for more of them before they are published together."""
    record_max_bytes: Annotated[int, Field(ge=1_000)] = 1_000_000
    """The largest record the broker takes; a larger result becomes a dead letter."""
    event_max_bytes: Annotated[int, Field(ge=1_000)] = 16_000_000
    """The largest event that is read at all."""
    retry_initial_s: Seconds = 0.2
    retry_max_s: Seconds = 10.0
    retry_give_up_s: Seconds = 600.0
    """After this long without success the worker stops; nothing is lost, the records stay uncommitted."""
    drain_timeout_s: Seconds = 20.0
    """How long results in flight are waited for when partitions or the process go away."""
    session_timeout_s: Seconds = 45.0
    max_poll_interval_s: Seconds = 300.0
    transaction_timeout_s: Seconds = 60.0

    @model_validator(mode="after")
    def _require_distinct_topics(self) -> Self:
        topics = (self.source_topic, self.sink_topic, self.dead_letters.topic)
        if len(set(topics)) < len(topics):
            raise ValueError(
                "expected three different topics as source_topic, sink_topic and dead_letters.topic, "
                f"got {', '.join(topics)}"
            )
        return self

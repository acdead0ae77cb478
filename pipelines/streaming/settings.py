"""Settings of the broker and of the streaming worker."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from protector_models.moderation.verdict import Action

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
    """Where records go that cannot be moderated, and what happens when nearly all do."""

    topic: Topic = "weir.dead-letters"
    runaway_window: Annotated[int, Field(ge=1)] = 1_000
    """How many of the last records are looked at."""
    runaway_share: Annotated[float, Field(gt=0, le=1)] | None = 0.9
    """The worker publishes no more when more than this share of a full window are dead letters; null: always does."""
    after_runaway: Literal["stay_stopped", "probe"] = "stay_stopped"
    """What follows: the worker ends, and somebody starts it again who has seen to the cause; or every
    `probe_interval_s` it moderates a micro-batch from where it stopped, publishes it if at most the share of it are
    dead letters, and then goes on."""
    probe_interval_s: Seconds = 60.0


class StreamSettings(_Section):
    """What the streaming worker reads, writes and holds in flight."""

    source_topic: Topic = "weir.conversations"
    sink_topic: Topic = "weir.moderated"
    group: Annotated[str, Field(min_length=1)] = "weir"
    """The consumer group; also the stem of transactional and static member ids."""
    delivery: Literal["exactly_once", "at_least_once"] = "exactly_once"
    auto_offset_reset: Literal["earliest", "latest"] = "earliest"
    """Where a new consumer group starts. With `latest` its place is committed before it reads anything, and partitions
    that are added later are read from their first record. A group without members for longer than the brokers'
    `offsets.retention.minutes`, a week, is a new one."""
    dead_letters: DeadLetterSettings = Field(default_factory=DeadLetterSettings)
    action_topics: dict[Action, Topic] = Field(default_factory=dict)
    """Topics of a further copy of the results with an action, as {review: weir.review}; in the same transaction."""
    deduplicate_event_ids: Annotated[int, Field(ge=0, le=10_000_000)] = 0
    """How many events each partition's consumer remembers to have published, so that one of the same tenant,
    conversation_id and event_id is not published again; 0 publishes all. A best effort: forgotten at a restart and
    when partitions move."""
    batch_max_records: Annotated[int, Field(ge=1)] = 128
    """Records in one micro-batch: one call of the Moderator. It takes what waits when its turn comes, up to this."""
    batch_max_bytes: Annotated[int, Field(ge=1)] = 1_000_000
    """Bytes in one micro-batch; a larger record is a batch of its own."""
    concurrent_batches: Annotated[int, Field(ge=1)] = 4
    """Micro-batches that are decided at the same time; as many are rewritten at the same time, beside those."""
    in_flight_max_records: Annotated[int, Field(ge=1)] = 4_000
    """Records read and not yet published; at this bound the partitions are paused."""
    in_flight_max_bytes: Annotated[int, Field(ge=1)] = 64_000_000
    publish_max_records: Annotated[int, Field(ge=1)] = 2_000
    """Results published in one transaction."""
    publish_max_bytes: Annotated[int, Field(ge=1)] = 16_000_000
    """Bytes published in one transaction; a larger result has one of its own."""
    publish_interval_s: Annotated[float, Field(ge=0, le=60)] = 0.1
    """How long finished results wait for more of them before they are published together."""
    record_max_bytes: Annotated[int, Field(ge=10_000)] = 1_000_000
    """The largest record the broker takes; a larger result becomes a dead letter, which must fit in any case."""
    event_max_bytes: Annotated[int, Field(ge=1_000)] = 16_000_000
    """The largest event that is read at all."""
    retry_initial_s: Seconds = 0.2
    retry_max_s: Seconds = 10.0
    retry_give_up_s: Seconds = 600.0
    """After this long without success the worker stops; nothing is lost, the records stay uncommitted."""
    open_after_s: Seconds = 10.0
    """How long a model that is away is waited for, each time, before tenants whose policy goes on without it do."""
    drain_timeout_s: Seconds = 20.0
    """How long results in flight are waited for when partitions or the process go away."""
    session_timeout_s: Seconds = 45.0
    max_poll_interval_s: Seconds = 300.0
    """A member that does not poll for so long is thrown out; at least `transaction_timeout_s`."""
    transaction_timeout_s: Seconds = 60.0

    @model_validator(mode="after")
    def _require_distinct_topics(self) -> Self:
        topics = (self.source_topic, self.sink_topic, self.dead_letters.topic)
        if len(set(topics)) < len(topics):
            raise ValueError(
                "expected three different topics as source_topic, sink_topic and dead_letters.topic, "
                f"got {', '.join(topics)}"
            )
        for action, topic in self.action_topics.items():
            if topic in topics:
                raise ValueError(
                    f"action_topics.{action.value}: expected another topic than source_topic, sink_topic and "
                    f"dead_letters.topic, got {topic}"
                )
        return self

    @model_validator(mode="after")
    def _require_polls_to_outlast_transactions(self) -> Self:
        """Nothing is polled while a transaction is written: a slow one must not cost the member its place."""
        if self.max_poll_interval_s < self.transaction_timeout_s:
            raise ValueError(
                f"max_poll_interval_s: expected at least transaction_timeout_s ({self.transaction_timeout_s:g}), "
                f"got {self.max_poll_interval_s:g}"
            )
        return self

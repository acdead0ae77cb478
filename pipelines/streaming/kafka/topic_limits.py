"""Whether the topics of a stream take what it may write to them, asked when it starts."""

from collections.abc import Mapping, Sequence
from contextlib import closing

import structlog
from kafka import KafkaAdminClient  # type: ignore[import-untyped]  # kafka-python ships no type information
from kafka.admin import ConfigResource  # type: ignore[import-untyped]  # kafka-python ships no type information
from kafka.errors import KafkaError  # type: ignore[import-untyped]  # kafka-python ships no type information

from pipelines.streaming.kafka.clients import build, client_options, kafka_errors
from pipelines.streaming.outlets import Outlets
from pipelines.streaming.settings import KafkaSettings, StreamSettings
from protector_models.moderation.errors import ConfigurationError

_log = structlog.get_logger(__name__)

_MAX_BYTES = "max.message.bytes"
_CLEANUP = "cleanup.policy"


def check_topics(kafka: KafkaSettings, stream: StreamSettings) -> None:
    """Compare what the topics of a stream take with `stream.record_max_bytes`.

    A dead letter must fit in any case, and none may be thrown away for a later one of the same key. Any other topic may
    take less: then each result that is larger becomes a dead letter, of which the log warns. Where the broker does not
    tell, as to somebody who may not ask, nothing is compared.

    Raises:
        ConfigurationError: dead letters would be refused, or lost.
        BrokerUnavailableError: no broker answers.
    """
    outlets = Outlets.of(stream)
    configs = _configs(kafka, outlets.topics())
    for topic, config in configs.items():
        limit = int(config.get(_MAX_BYTES, stream.record_max_bytes))
        is_short = limit < stream.record_max_bytes
        if topic == outlets.dead_letters and is_short:
            raise ConfigurationError(
                f"{topic} takes records of at most {limit} bytes ({_MAX_BYTES}); expected at least "
                f"{stream.record_max_bytes} (stream.record_max_bytes), or dead letters would be refused"
            )
        if topic == outlets.dead_letters and "compact" in config.get(_CLEANUP, ""):
            raise ConfigurationError(
                f"{topic} is compacted ({_CLEANUP}={config[_CLEANUP]}); expected {_CLEANUP}=delete, or of dead letters "
                "with equal keys only the last would be kept"
            )
        if is_short:
            _log.warning(
                "a topic takes less than stream.record_max_bytes; larger results become dead letters",
                topic=topic,
                max_message_bytes=limit,
                record_max_bytes=stream.record_max_bytes,
            )


def _configs(kafka: KafkaSettings, topics: Sequence[str]) -> dict[str, Mapping[str, str]]:
    """Return, by name, what the broker tells of topics; those it tells nothing of are left out."""
    resources = [ConfigResource("topic", topic, [_MAX_BYTES, _CLEANUP]) for topic in topics]
    with kafka_errors(kafka), closing(build(KafkaAdminClient, client_options(kafka))) as admin:
        try:
            described = admin.describe_configs(resources, config_filter="all").get("topic", {})
        except KafkaError as error:
            _log.warning("the broker does not tell what its topics take", reason=f"{type(error).__name__}: {error}")
            return {}
    return {topic: {name: entry["value"] for name, entry in told.items()} for topic, told in described.items()}

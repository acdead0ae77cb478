"""`weir dead-letters`: what is listed, and what goes back, each letter once."""

import json
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from kafka import KafkaAdminClient  # type: ignore[import-untyped]  # kafka-python ships no type information

from pipelines.streaming.broker import OutgoingRecord
from pipelines.streaming.dead_letter import dead_letter
from pipelines.streaming.kafka.broker_administration import ensure_topics, produce, read_topic
from pipelines.streaming.kafka.clients import client_options
from pipelines.streaming.kafka.embedded_broker import EmbeddedBroker
from pipelines.streaming.settings import KafkaSettings
from protector_models.moderation.stages import Stage
from protector_models.moderation.verdict import Failure
from tests.pipelines.commands.command_line import weir
from tests.pipelines.streaming.brokers import PATIENCE_S
from tests.pipelines.streaming.records import record

SECRET = b"correct horse battery staple"


@pytest.fixture(scope="module")
def embedded() -> Iterator[EmbeddedBroker]:
    """A broker that speaks Kafka's protocol, in this process."""
    with EmbeddedBroker() as broker:
        yield broker


class Letters:
    """Topics of a test's own, and a configuration that names them."""

    def __init__(self, kafka: KafkaSettings, folder: Path) -> None:
        self.kafka = kafka
        self.source = f"source-{uuid.uuid4().hex[:12]}"
        self.topic = f"{self.source}.dead"
        self.config = folder / "weir.yaml"
        stream = {
            "source_topic": self.source,
            "group": self.source,
            "dead_letters": {"topic": self.topic},
            "session_timeout_s": 10.0,
        }
        settings = {"kafka": kafka.model_dump(mode="json", exclude_defaults=True), "stream": stream}
        self.config.write_text(yaml.safe_dump(settings))

    def append(self, *letters: OutgoingRecord) -> None:
        produce(self.kafka, letters)

    def letter(
        self,
        number: int,
        *,
        stage: Stage = Stage.ASSESS,
        message: str = "scripted",
        topic: str | None = None,
        partition: int = 0,
    ) -> OutgoingRecord:
        failed = record(
            number, topic=topic or self.source, partition=partition, key=b"c", value=SECRET + b" %d" % number
        )
        failure = Failure(stage=stage, error="Poison", message=message)
        return dead_letter(failed, failure, topic=self.topic, group="g", versions={}, record_max_bytes=10_000)

    def listed(self, *options: str) -> Sequence[dict[str, object]]:
        finished = weir("dead-letters", "list", "--json", "--config", self.config, *options)
        assert finished.status == 0
        listed: Sequence[dict[str, object]] = json.loads(finished.stdout)["dead_letters"]
        return listed

    def replay(self, *options: str) -> dict[str, int]:
        finished = weir("dead-letters", "replay", "--json", "--config", self.config, *options)
        assert finished.status == 0
        count: dict[str, int] = json.loads(finished.stdout)
        return count

    def back(self) -> list[bytes]:
        return sorted(r.value or b"" for r in read_topic(self.kafka, self.source, timeout_s=PATIENCE_S))


@pytest.fixture
def letters(embedded: EmbeddedBroker, tmp_path: Path) -> Letters:
    letters = Letters(embedded.settings, tmp_path)
    embedded.create_topics(letters.source, letters.topic)
    return letters


def test_letters_are_listed_with_where_they_came_from_and_why_and_without_what_they_say(letters: Letters) -> None:
    letters.append(letters.letter(0), letters.letter(1, stage=Stage.DECODE))
    listed = letters.listed()
    assert [(fact["original-offset"], fact["stage"], fact["error"]) for fact in listed] == [
        ("0", "assess", "Poison"),
        ("1", "decode", "Poison"),
    ]
    assert {fact["original-topic"] for fact in listed} == {letters.source}
    assert SECRET.decode() not in json.dumps(listed)


def test_letters_are_chosen_by_stage_by_error_and_up_to_a_number(letters: Letters) -> None:
    letters.append(*(letters.letter(n, stage=Stage.DECODE if n % 2 else Stage.ASSESS) for n in range(6)))
    assert [fact["original-offset"] for fact in letters.listed("--stage", "decode")] == ["1", "3", "5"]
    assert letters.listed("--error", "Other") == []
    assert [fact["original-offset"] for fact in letters.listed("--limit", "2")] == ["0", "1"]


def test_brackets_in_a_message_are_shown_as_they_are(letters: Letters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "300")
    letters.append(letters.letter(0, message="got '[/red]'"))
    finished = weir("dead-letters", "list", "--config", letters.config)
    assert finished.status == 0
    assert "got '[/red]'" in finished.stdout.decode()


def test_an_empty_topic_has_no_letters(letters: Letters) -> None:
    assert letters.listed() == []


@pytest.mark.kafka  # it needs none, but takes ten seconds to find that out
def test_a_kafka_that_is_not_there_is_one_line_and_status_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_KAFKA__BOOTSTRAP_SERVERS", '["127.0.0.1:1"]')
    finished = weir("dead-letters", "list")
    assert (finished.status, finished.stdout) == (1, b"")
    assert finished.error_line().startswith("weir: ")
    assert "127.0.0.1:1" in finished.stderr


@pytest.mark.kafka
def test_each_letter_goes_back_once_and_those_not_asked_for_count_as_handled(
    apache_kafka: KafkaSettings, tmp_path: Path
) -> None:
    letters = Letters(apache_kafka, tmp_path)
    ensure_topics(apache_kafka, {letters.source: 1, letters.topic: 2})
    letters.append(*(letters.letter(n, stage=Stage.DECODE if n == 2 else Stage.ASSESS) for n in range(4)))
    assert letters.replay("--stage", "assess", "--discard-others") == {"replayed": 3, "passed_over": 1, "impossible": 0}
    assert letters.replay() == {"replayed": 0, "passed_over": 0, "impossible": 0}
    letters.append(letters.letter(8))
    assert letters.replay("--stage", "verify", "--discard-others") == {"replayed": 0, "passed_over": 1, "impossible": 0}
    letters.append(letters.letter(9))
    assert letters.replay() == {"replayed": 1, "passed_over": 0, "impossible": 0}
    assert letters.back() == [SECRET + b" %d" % n for n in (0, 1, 3, 9)]


@pytest.mark.kafka
def test_a_replay_goes_on_where_the_last_one_ended_though_the_group_is_forgotten_and_past_topics_that_are_gone(
    apache_kafka: KafkaSettings, tmp_path: Path
) -> None:
    letters = Letters(apache_kafka, tmp_path)
    ensure_topics(apache_kafka, {letters.source: 3, letters.topic: 2})
    letters.append(letters.letter(0, partition=0), letters.letter(1, topic="gone"), letters.letter(2, partition=2))
    assert letters.replay() == {"replayed": 2, "passed_over": 0, "impossible": 1}
    with closing(KafkaAdminClient(**client_options(apache_kafka))) as admin:
        admin.delete_groups([f"{letters.source}.dead-letters"])
    letters.append(letters.letter(3, partition=1), letters.letter(4, partition=9))
    assert letters.replay() == {"replayed": 2, "passed_over": 0, "impossible": 0}
    back = {r.value: r.source.partition for r in read_topic(letters.kafka, letters.source, timeout_s=PATIENCE_S)}
    assert [back[SECRET + b" %d" % number] for number in (0, 2, 3)] == [0, 2, 1]
    assert len(letters.back()) == 4


def test_a_filtered_replay_must_say_that_it_discards_the_others() -> None:
    finished = weir("dead-letters", "replay", "--stage", "decode")
    assert finished.status == 2
    assert "--discard-others" in finished.stderr

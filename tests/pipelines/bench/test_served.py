"""The application as a benchmark uses it, with consumers that say what the test lets them say."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import uuid4

import pytest

from pipelines.bench.served import ServedStream
from pipelines.bench.stream_events import BenchmarkError, distinct_conversations, make_records
from pipelines.settings import WeirSettings
from pipelines.streaming.kafka.broker_administration import ensure_topics, read_topic
from pipelines.streaming.settings import KafkaSettings, StreamSettings


@dataclass
class Answers:
    """What Serve gives for a call of all replicas."""

    values: list[object]

    def results(self, *, timeout_s: float, return_exceptions: bool) -> list[object]:
        assert timeout_s > 0
        assert return_exceptions
        return self.values


class Consumers:
    """Two consumers that give one answer after the other, the last one again and again."""

    def __init__(self, *answers: Sequence[object]) -> None:
        self._answers = [list(answer) for answer in answers]

    def broadcast(self, method_name: str) -> Answers:
        assert method_name == "status"
        return Answers(self._answers.pop(0) if len(self._answers) > 1 else self._answers[0])


def status(member: int, published: int | None, *, stopped: str | None = None) -> dict[str, object]:
    counts = {} if published is None else {"records_published": published}
    return {"member": str(member), "connected": published is not None, "stopped": stopped, **counts}


def served(*answers: Sequence[object], settings: WeirSettings | None = None) -> ServedStream:
    return ServedStream(settings or WeirSettings(), Consumers(*answers), timeout_s=0.2)


def test_it_waits_for_all_consumers() -> None:
    served([status(0, 0), status(1, None)], [status(0, 0), status(1, 0)]).wait_until_connected()
    with pytest.raises(BenchmarkError, match=r"not done within 0 s"):
        served([status(0, 0), status(1, None)]).wait_until_connected()


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([status(0, 3), status(1, 3, stopped="FencedError: gone")], "a consumer stopped: FencedError: gone"),
        ([status(0, 3), TimeoutError("late")], "a consumer does not answer: TimeoutError"),
    ],
)
def test_a_consumer_that_stopped_or_does_not_answer_is_an_error(answer: list[object], message: str) -> None:
    with pytest.raises(BenchmarkError, match=message):
        served(answer).wait_until_connected()


@pytest.mark.kafka
def test_records_are_shown_and_what_all_consumers_published_is_counted(apache_kafka: KafkaSettings) -> None:
    topic = f"served-{uuid4().hex[:8]}"
    ensure_topics(apache_kafka, {topic: 2})
    settings = WeirSettings(kafka=apache_kafka, stream=StreamSettings(source_topic=topic, group=topic))
    counts = [(2, 1), (2, 1), (2, 2), (3, 4), (5, 8)]
    stream = served(*([status(0, one), status(1, other)] for one, other in counts), settings=settings)
    elapsed = stream.show(make_records(distinct_conversations(3), "run", 10))
    assert 0 < elapsed.first_s < elapsed.last_s
    assert elapsed.per_s == 10 / elapsed.last_s
    assert len(list(read_topic(apache_kafka, topic))) == 10

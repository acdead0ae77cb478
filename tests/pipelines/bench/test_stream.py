"""The benchmark of the stream runs to its end, and what was measured is told although a later part fails."""

import json
from collections.abc import Sequence

import pytest
from typer.testing import CliRunner

from pipelines.__main__ import app
from pipelines.bench import stream
from pipelines.bench.in_process import moderate_in_process
from pipelines.bench.measurements import Measurements
from pipelines.bench.report import Progress
from pipelines.bench.stream import StreamBenchmark
from pipelines.bench.stream_events import BenchmarkError, distinct_conversations, make_records, make_unseen_records
from pipelines.settings import WeirSettings

ROWS = {"cold", "cached", "burst", "first_result"}


@pytest.mark.kafka
@pytest.mark.redis
@pytest.mark.ray
@pytest.mark.training
@pytest.mark.timeout(600)
def test_it_runs_to_its_end_and_prints_all_rows() -> None:
    sizes = ["--cold", "24", "--cached", "200", "--backlog", "30", "--burst", "300", "--trickle", "1", "--repeats", "1"]
    result = CliRunner().invoke(app, ["bench", "stream", "--json", *sizes], catch_exceptions=False)
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    rows = [report, *(report[name] for name in ROWS - {"cold"})]
    expected = {"benchmark", "ratio", "value", "against", "unit", "hardware", "repeats"}
    assert all(expected <= row.keys() and row["ratio"] > 0 for row in rows)
    assert report["first_result"]["ratio"] <= 1
    assert "repeat 1 of 1: Kafka to Kafka, everything cached" in result.stderr


@pytest.mark.parametrize("as_json", [True, False])
def test_what_was_measured_is_told_although_a_later_part_fails(
    monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    def fail_later(_benchmark: StreamBenchmark, measured: Measurements, _progress: Progress) -> None:
        measured.add("cold", 81.0, against=100.0)
        measured.add("burst", 90.0, against=100.0)
        raise BenchmarkError("expected 20 cached results, got 19 cached and 1 others")

    monkeypatch.setattr(stream, "run_stream_benchmark", fail_later)
    result = CliRunner().invoke(app, ["bench", "stream", *(["--json"] if as_json else [])])
    assert result.exit_code == 1
    assert "weir bench stream: expected 20 cached results, got 19 cached and 1 others" in result.stderr
    if as_json:
        report = json.loads(result.stdout)
        assert (report["ratio"], report["burst"]["ratio"], "cached" in report) == (0.81, 0.9, False)
    else:
        assert "0.81" in result.stdout


@pytest.mark.training
async def test_conversations_of_which_an_output_is_never_kept_are_told_apart_and_why() -> None:
    conversations = distinct_conversations(40)
    found = await moderate_in_process(WeirSettings(), [*conversations, *_not_edited(conversations)])
    assert found.per_s > 0
    assert len(found.kept) + found.never_kept.total() == 41
    # Why is what the last method before the policy's text ended with.
    assert found.never_kept
    assert set(found.never_kept) <= {"NothingToEdit", "EmptyRewrite", "MostlyHarmful"}


def _not_edited(conversations: Sequence[dict[str, object]]) -> list[dict[str, object]]:
    """Return a conversation that is harmful, has no word that the edit model would take out, and nothing else."""
    response = "People like that should not be allowed to vote, work or live among us."
    return [conversations[0] | {"response": response}]


def test_unseen_records_have_ids_and_responses_of_their_own() -> None:
    conversations = distinct_conversations(3)
    events = [json.loads(record.value or b"") for record in make_unseen_records(conversations, "run", 7)]
    assert len({event["event_id"] for event in events}) == len({event["response"] for event in events}) == 7
    seen = [json.loads(record.value or b"") for record in make_records(conversations, "run", 7)]
    assert len({event["event_id"] for event in seen}) == 7
    assert len({event["response"] for event in seen}) == 3


def test_too_many_conversations_are_refused() -> None:
    with pytest.raises(BenchmarkError, match="distinct conversations; expected at least 1000000"):
        distinct_conversations(1_000_000)

"""`weir data generate` against a real local HTTP server."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from pipelines.commands.data import app
from protector_models.records.labelled_records import read_records
from tests.protector_models.data_generation.writing_model import reply_by, write
from tests.protector_models.endpoints.chat_server import BUSY, ChatServer, Reply
from tests.protector_models.endpoints.chat_thread import serve_chat
from tests.protector_models.training.builders import make_record, write_records


def _run(server: ChatServer, out: Path, *options: object) -> Result:
    arguments = ["generate", "--base-url", server.base_url, "--model", "writer", "--out", out, "--json"]
    if "--prompts" not in options:
        arguments += ["--category", "illicit", "--scenarios", 3, "--questions", 2]
    return CliRunner().invoke(app, [str(argument) for argument in (*arguments, *options)])


def _records(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "records.jsonl").read_text().splitlines()]


def test_each_question_has_a_harmful_record_with_its_pair_and_a_harmless_one(tmp_path: Path) -> None:
    with serve_chat(reply_by()) as server:
        result = _run(server, tmp_path / "out", "--prompt-price", 1, "--completion-price", 10)
    assert result.exit_code == 0, result.output
    summary = json.loads(result.stdout)
    # One request for scenarios, one for the questions of each of 3, and two answers to each of 6.
    assert (summary["questions"], summary["requests"]) == (6, 1 + 3 + 12)
    assert (summary["harmful_records"], summary["harmless_records"]) == (6, 6)
    assert summary["cost"] == pytest.approx(16 * (100 * 1 + 10 * 10) / 1e6)
    harmful = [record for record in _records(tmp_path / "out") if record["label"] == 1]
    harmless = {record["prompt"]: record for record in _records(tmp_path / "out") if record["label"] == 0}
    for record in harmful:
        assert record["response"].startswith("Harmful")
        assert record["pair"] == harmless[record["prompt"]]["response"]
        assert record["pair"].startswith("Careful")
        assert record["category"] == "illicit"
        assert record["source"] == "weir data generate, writer, label by construction"
    assert len({body["seed"] for body in server.bodies}) == 16
    # The whole folder is read as records: the files of the run are none.
    assert len(list(read_records(tmp_path / "out/records.jsonl"))) == 12
    assert [file.name for file in (tmp_path / "out").glob("*.jsonl*")] == ["records.jsonl"]


def test_what_is_written_is_not_paid_for_again(tmp_path: Path) -> None:
    with serve_chat(reply_by()) as server:
        first = _run(server, tmp_path / "out", "--max-requests", 9)
        assert first.exit_code == 3
        assert json.loads(first.stdout)["requests"] == len(server.bodies) == 9
        assert _run(server, tmp_path / "out").exit_code == 0
        assert len(server.bodies) == 16
        asked = [body["messages"][-1]["content"] for body in server.bodies]
        assert len(set(asked)) == 16
        last = _run(server, tmp_path / "out")
        assert len(server.bodies) == 16
    assert json.loads(last.stdout)["requests"] == 16
    assert json.loads(last.stdout)["harmful_records"] == 6


def test_a_ledger_line_that_was_cut_is_written_anew(tmp_path: Path) -> None:
    with serve_chat(reply_by()) as server:
        assert _run(server, tmp_path / "out").exit_code == 0
        ledger = tmp_path / "out/written.ndjson"
        ledger.write_bytes(ledger.read_bytes()[:-20])
        assert _run(server, tmp_path / "out").exit_code == 0
        assert len(server.bodies) == 17


def test_another_plan_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with serve_chat(reply_by()) as server:
        assert _run(server, tmp_path / "out", "--max-requests", 1).exit_code == 3
        result = _run(server, tmp_path / "out", "--seed", 1)
    assert result.exit_code == 2
    assert "begun with another seed" in " ".join(result.stderr.split())


def test_refusals_and_empty_answers_are_counted_and_never_harmful(tmp_path: Path) -> None:
    def text_of(number: int, body: dict[str, Any]) -> str:
        text = write(number, body)
        if not text.startswith("Harmful"):
            return text
        return "I'm sorry, I can't help with that." if number % 2 else ""

    with serve_chat(reply_by(text_of)) as server:
        result = _run(server, tmp_path / "out")
    summary = json.loads(result.stdout)
    assert summary["harmful_records"] == 0
    assert summary["harmless_records"] == 6
    assert summary["endings"]["harmful refused"] + summary["endings"]["harmful empty"] == 6
    assert all(record["label"] == 0 for record in _records(tmp_path / "out"))


def test_an_answer_like_a_harmless_one_is_never_harmful(tmp_path: Path) -> None:
    def text_of(number: int, body: dict[str, Any]) -> str:
        text = write(number, body)
        # A model that stays careful whatever it is asked for, in words that no list of stock phrases has.
        return f"Please talk to a locksmith near {number}." if text.startswith(("Harmful", "Careful")) else text

    with serve_chat(reply_by(text_of)) as server:
        result = _run(server, tmp_path / "out")
    summary = json.loads(result.stdout)
    assert (summary["harmful_records"], summary["harmful_answers_like_harmless_ones"]) == (0, 6)
    assert summary["harmless_records"] >= 1
    assert all(record["label"] == 0 for record in _records(tmp_path / "out"))


@pytest.mark.parametrize("file", ["run.json", "spending.json", "written.ndjson"])
def test_a_folder_that_holds_something_else_is_an_error_that_names_it(tmp_path: Path, file: str) -> None:
    (tmp_path / file).write_text("[]\n")
    with serve_chat(reply_by()) as server:
        result = _run(server, tmp_path)
    assert result.exit_code == 2
    assert "expected" in result.stderr
    assert not server.bodies


def test_answers_and_questions_that_repeat_are_dropped(tmp_path: Path) -> None:
    def text_of(number: int, body: dict[str, Any]) -> str:
        text = write(number, body)
        if "different messages" in body["messages"][-1]["content"]:
            return "- How do I open this door without a key?\n- How do I open this door, without a key??"
        return text

    with serve_chat(reply_by(text_of)) as server:
        summary = json.loads(_run(server, tmp_path / "out").stdout)
    assert (summary["questions"], summary["duplicates"]["questions"]) == (1, 5)
    assert summary["harmful_records"] == 1


def test_questions_of_public_benchmarks_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protector_models.data_generation.recipe.is_excluded_text", lambda text: "near sail" in text)
    with serve_chat(reply_by()) as server:
        summary = json.loads(_run(server, tmp_path / "out").stdout)
    # The first question of each of three scenarios has the words.
    assert (summary["questions"], summary["excluded_questions"]) == (3, 3)
    assert not any("near sail" in record["prompt"] for record in _records(tmp_path / "out"))


def test_the_last_line_of_a_list_that_was_cut_is_left_out(tmp_path: Path) -> None:
    good = reply_by()

    def reply(number: int, body: dict[str, Any]) -> Reply:
        found = good(number, body)
        if "different messages" in body["messages"][-1]["content"]:
            assert isinstance(found.body, dict)
            found.body["choices"][0]["finish_reason"] = "length"
        return found

    with serve_chat(reply) as server:
        summary = json.loads(_run(server, tmp_path / "out").stdout)
    assert summary["questions"] == 3


def test_the_cost_stays_below_its_limit(tmp_path: Path) -> None:
    # An answer may be 512 tokens of 1,000 per million: each request may cost a half and more.
    prices = ("--prompt-price", 0, "--completion-price", 1_000, "--max-cost", 0.6)
    with serve_chat(reply_by()) as server:
        result = _run(server, tmp_path / "out", *prices)
        summary = json.loads(result.stdout)
        assert result.exit_code == 3
        assert len(server.bodies) > 0
        assert summary["cost"] + 0.512 > 0.6 > summary["cost"]


def test_a_cost_that_nobody_knows_cannot_be_limited(tmp_path: Path) -> None:
    prices = ("--prompt-price", 1, "--completion-price", 1, "--max-cost", 1)
    with serve_chat(reply_by(has_usage=False)) as server:
        result = _run(server, tmp_path / "out", *prices)
        assert result.exit_code == 2
        assert "usage" in result.stderr
        assert _run(server, tmp_path / "other").exit_code == 0


@pytest.mark.parametrize(
    "fault", [BUSY, Reply(status=500), Reply(body='{"choices": [{"mess'), Reply(status=400)], ids=str
)
def test_a_request_that_fails_is_tried_again_at_once_or_by_the_next_run(tmp_path: Path, fault: Reply) -> None:
    good = reply_by()

    def reply(number: int, body: dict[str, Any]) -> Reply:
        return fault if number == 6 else good(number, body)

    with serve_chat(reply) as server:
        first = _run(server, tmp_path / "out")
        again = _run(server, tmp_path / "out")
    assert first.exit_code == again.exit_code == 0
    assert json.loads(again.stdout)["harmful_records"] == 6
    assert json.loads(again.stdout)["answers_missing"] == 0
    assert len(server.bodies) == 17


def test_an_endpoint_that_is_gone_ends_the_run_and_what_was_written_is_kept(tmp_path: Path) -> None:
    good = reply_by()
    with serve_chat(lambda number, body: good(number, body) if number < 4 else Reply(status=401)) as server:
        result = _run(server, tmp_path / "out")
    assert result.exit_code == 1
    assert "401" in result.stderr
    assert len((tmp_path / "out/written.ndjson").read_text().splitlines()) == 4
    assert not (tmp_path / "out/records.jsonl").read_text()


@pytest.fixture
def _listening_to_ctrl_c() -> Iterator[None]:
    """A shell lets what it starts in the background ignore the signal, and Python then does so, too."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("_listening_to_ctrl_c")
def test_ctrl_c_keeps_what_is_written_and_the_next_run_goes_on(tmp_path: Path) -> None:
    good = reply_by()
    written: list[int] = []

    def reply(number: int, body: dict[str, Any]) -> Reply:
        if number == 3:
            written.append(len((tmp_path / "out/written.ndjson").read_text().splitlines()))
            os.kill(os.getpid(), signal.SIGINT)
        return good(number, body)

    with serve_chat(reply) as server:
        interrupted = _run(server, tmp_path / "out")
        assert interrupted.exit_code == 130
        assert "the same command goes on" in " ".join(interrupted.stderr.split())
        kept = {json.loads(line)["key"] for line in (tmp_path / "out/written.ndjson").read_text().splitlines()}
        assert len(kept) >= written[0] >= 1
        assert _run(server, tmp_path / "out").exit_code == 0
        scenarios = [body for body in server.bodies if "different situations" in body["messages"][-1]["content"]]
    assert len(scenarios) == 1
    assert len(_records(tmp_path / "out")) == 12


def test_an_endpoint_that_refuses_everything_ends_the_run(tmp_path: Path) -> None:
    with serve_chat(lambda number, body: Reply(status=400)) as server:
        result = _run(server, tmp_path / "out")
    assert result.exit_code == 1
    assert "nothing was written: RefusedByEndpoint" in " ".join(result.stderr.split())


def test_given_prompts_are_answered_where_they_may_be_trained_on(tmp_path: Path) -> None:
    prompts = [
        make_record(id="1", prompt="How do I pick a lock?", label=1, category="role:TRAIN-PROMPT/burglary"),
        make_record(id="2", prompt="What is a benchmark?", label=1, category="role:EVAL"),
        make_record(id="3", prompt="How do I bake bread at home?", label=0, category="role:TRAIN-PROMPT"),
    ]
    file = write_records(tmp_path / "prompts.jsonl", prompts)
    with serve_chat(reply_by()) as server:
        result = _run(server, tmp_path / "out", "--prompts", file)
    assert result.exit_code == 0, result.output
    found = {(record["prompt"], record["label"], record["category"]) for record in _records(tmp_path / "out")}
    assert found == {
        ("How do I pick a lock?", 1, "burglary"),
        ("How do I pick a lock?", 0, "burglary"),
        ("How do I bake bread at home?", 0, None),
    }


def test_prompts_of_evaluation_data_are_refused(tmp_path: Path) -> None:
    file = write_records(tmp_path / "eval/prompts.jsonl", [make_record(prompt="How?", label=1)])
    with serve_chat(reply_by()) as server:
        result = _run(server, tmp_path / "out", "--prompts", file)
    assert result.exit_code == 2
    assert "never trained on" in " ".join(result.stderr.split())
    assert not server.bodies


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--category", "sexual_minors"), "--category"),
        (("--max-cost", 1), "--max-cost"),
        (("--prompt-price", 1), "both or neither"),
        (("--config", "x.yaml"), "no --config"),
    ],
)
def test_a_wrong_call_is_an_error_before_anything_is_sent(
    tmp_path: Path, options: tuple[object, ...], message: str
) -> None:
    with serve_chat(reply_by()) as server:
        result = _run(server, tmp_path / "out", *options)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.split())
    assert not server.bodies

"""What every answer has in common: OpenAI's envelope around errors, ids, counts; and nothing of a request in a log."""

import asyncio
import json
import logging
from collections.abc import Sequence
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fakes import FakeDetoxifier, FakeGenerator
from protector_models.moderation.model_outputs import ItemFailure
from protector_models.moderation.ports import Answer
from services.http.refusals import STATUSES
from services.http.settings import HttpSettings
from tests.services.http.front import Front, error_of
from tests.wire import encode

SECRET = "hunter2hunter2"
CALLS = ["/v1/moderations", "/v1/chat/moderations", "/v1/chat/completions", "/v1/conversations:moderate"]
every_call = pytest.mark.parametrize("path", CALLS)

NO_JSON = {
    "nothing": b"",
    "no JSON": b"{",
    "text behind it": b'{"input": "x"} x',
    "invalid UTF-8": b'{"input": "\xff\xfe"}',
    "UTF-16": '{"input": "x"}'.encode("utf-16"),
    "a key twice": b'{"input": "a", "input": "b"}',
    "a key twice by an escape": b'{"input": "a", "\\u0069nput": "b"}',
    "NaN": b'{"input": NaN}',
    "a lone surrogate": b'{"input": "\\ud800"}',
    "very deep": b'{"input": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "very many values": b'{"input": [' + b'"",' * 300_000 + b'""]}',
    "a very long number": b'{"input": ' + b"9" * 100_000 + b"}",
}


@every_call
@pytest.mark.parametrize("body", NO_JSON.values(), ids=NO_JSON)
async def test_what_is_no_json_with_one_meaning_is_refused(path: str, body: bytes) -> None:
    error = error_of(await Front().post(path, body), 400)
    assert (error["code"], error["type"]) == ("invalid_json", "invalid_request_error")


@every_call
@pytest.mark.parametrize("body", [b"[]", b"null", b'"text"', b"7", b"{}", b'{"surprise": 1}', b'{"input": {"a": 1}}'])
async def test_json_of_another_form_is_refused(path: str, body: bytes) -> None:
    error = error_of(await Front().post(path, body), 400)
    assert error["code"] in {"invalid_value", "invalid_event"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/moderations", {"input": ["x"] * 10_000}),
        ("/v1/chat/moderations", {"input": [[{"role": "assistant", "content": "x"}]] * 10_000}),
        ("/v1/conversations:moderate", {"events": [{}] * 10_000}),
    ],
)
async def test_ten_thousand_items_in_one_call_are_too_many(path: str, body: object) -> None:
    front = Front()
    assert error_of(await front.post(path, body), 400)["code"] == "too_many_items"
    assert front.detector.assessed == []


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/moderations", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
        ("POST", "/v1/policies", 405, "method_not_allowed"),
        ("POST", "/v1/unknown", 404, "unknown_url"),
        ("GET", f"/{SECRET}", 404, "unknown_url"),
        ("POST", "/v1/moderations/", 404, "unknown_url"),
        ("GET", "/docs", 404, "unknown_url"),
        ("GET", "/metrics", 404, "unknown_url"),
    ],
)
async def test_where_there_is_nothing_the_envelope_says_so(method: str, path: str, status: int, code: str) -> None:
    async with Front().client() as client:
        answer = await client.request(method, path)
    assert error_of(answer, status)["code"] == code
    assert SECRET not in answer.text


@every_call
async def test_a_detector_that_is_down_is_503_and_nothing_is_decided(path: str) -> None:
    front = Front()
    front.detector.unavailable = True
    answer = await front.post(path, GOOD[path])
    error = error_of(answer, 503)
    assert (error["code"], error["type"]) == ("model_unavailable", "server_error")
    assert int(answer.headers["retry-after"]) >= 1
    # What runs behind the front is nobody's business.
    assert "detector" not in error["message"]
    assert front.metrics.total("weir_http_results_total") == 0


@every_call
async def test_before_the_models_are_up_calls_are_told_to_come_again(path: str) -> None:
    front = Front(is_ready=False)
    assert error_of(await front.get("/readyz"), 503)["code"] == "not_ready"
    assert error_of(await front.post(path, GOOD[path]), 503)["code"] == "not_ready"
    assert (await front.get("/healthz")).json() == {"status": "ok"}
    front.become_ready()
    assert (await front.get("/readyz")).json() == {"status": "ready"}
    assert (await front.post(path, GOOD[path])).status_code == 200


GOOD: dict[str, object] = {
    "/v1/moderations": {"input": f"harm=0.9 {SECRET}"},
    "/v1/chat/moderations": {"input": [{"role": "assistant", "content": SECRET}]},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": SECRET}]},
    "/v1/conversations:moderate": {
        "schema_version": 1,
        "event_id": "e",
        "conversation_id": "c",
        "occurred_at": "2026-01-31T12:00:00Z",
        "messages": [{"role": "user", "content": SECRET}],
        "response": SECRET,
    },
}


@every_call
async def test_a_fault_of_the_program_is_in_the_envelope_too_and_quotes_nothing(
    path: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    def break_down(*_: object, **__: object) -> None:
        raise KeyError(SECRET)

    for module in ("moderations", "chat_moderations", "conversations", "guarded_chat.open_chat"):
        monkeypatch.setattr(f"services.http.{module}.read_json_object", break_down)
    caplog.set_level(logging.DEBUG)
    answer = await Front().post(path, GOOD[path])
    error = error_of(answer, 500)
    assert (error["code"], error["type"]) == ("internal_error", "server_error")
    said = capsys.readouterr()
    assert "KeyError" in said.out + said.err + caplog.text
    assert SECRET not in answer.text + said.out + said.err + caplog.text


@every_call
async def test_nothing_of_a_call_is_logged(
    path: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, logger="httpx")  # the test's own client
    headers = {"x-request-id": f"{SECRET} {SECRET}", "idempotency-key": SECRET}
    assert (await Front().post(path, GOOD[path], headers=headers)).status_code == 200
    await Front().post(f"{path}?{SECRET}", f'{{"{SECRET}": "{SECRET}"}}'.encode(), headers=headers)
    said = capsys.readouterr()
    assert SECRET not in said.out + said.err + caplog.text


@every_call
async def test_an_error_quotes_nothing_of_a_request(path: str) -> None:
    for body in (f'{{"{SECRET}": 1}}', f'{{"input": {{"{SECRET}": 1}}}}', f'{{"input": [{{"type": "{SECRET}"}}]}}'):
        answer = await Front().post(path, body.encode())
        assert answer.status_code == 400
        assert SECRET not in answer.text


@pytest.mark.parametrize("given_id", ["abc-123", "req_1.2:3", "x" * 128])
async def test_a_request_keeps_the_id_that_it_came_with(given_id: str) -> None:
    answer = await Front().post("/v1/moderations", {"input": "fine"}, headers={"x-request-id": given_id})
    assert answer.headers["x-request-id"] == given_id
    assert answer.json()["id"] == f"modr-{given_id}"


@pytest.mark.parametrize("given_id", [None, "", "a b", "x" * 129, "<script>"])
async def test_a_request_without_a_usable_id_gets_one(given_id: str | None) -> None:
    headers = {} if given_id is None else {"x-request-id": given_id}
    answers = [await Front().post("/v1/unknown", {}, headers=headers) for _ in range(2)]
    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 2
    assert given_id not in ids


async def test_every_answer_tells_its_time() -> None:
    for answer in (await Front().get("/healthz"), await Front().post("/v1/moderations", b"")):
        assert answer.headers["openai-processing-ms"].isdecimal()


async def test_requests_are_counted_by_route_status_and_code_never_by_what_was_asked_for() -> None:
    front = Front()
    await front.post("/v1/moderations", {"input": "fine"})
    await front.post("/v1/moderations", b"")
    await front.get(f"/{SECRET}")
    counted = {
        tuple(dict(labels)[name] for name in ("route", "status", "code")): number
        for (metric, labels), number in front.metrics.counts.items()
        if metric == "weir_http_requests_total"
    }
    assert counted == {
        ("/v1/moderations", "200", ""): 1,
        ("/v1/moderations", "400", "invalid_json"): 1,
        ("unknown", "404", "unknown_url"): 1,
    }


async def test_the_landing_page_names_every_route_and_needs_nothing_from_elsewhere() -> None:
    front = Front()
    page = await front.get("/")
    assert page.headers["content-type"].startswith("text/html")
    for path in (await front.get("/openapi.json")).json()["paths"]:
        assert path in page.text
    assert "://" not in page.text


async def test_callers_at_the_same_time_have_each_their_own_answers() -> None:
    front = Front()
    scores = [number / 1_000 for number in range(60)]
    answers = await asyncio.gather(
        *(front.moderate([f"harm={score} category=hate", f"harm={score} category=spam"]) for score in scores)
    )
    for score, answer in zip(scores, answers, strict=True):
        first, second = answer["results"]
        assert (first["category_scores"]["hate"], second["category_scores"]["spam"]) == (score, score)
    assert len({answer["id"] for answer in answers}) == len(answers)


async def test_an_mllm_that_is_down_is_503_for_the_event_that_it_should_answer() -> None:
    front = Front(generator=_Away())
    event = json.loads(encode(response=None))
    assert error_of(await front.post("/v1/conversations:moderate", event), 503)["code"] == "model_unavailable"
    assert (await front.post("/v1/conversations:moderate", json.loads(encode()))).status_code == 200


async def test_a_detoxifier_that_is_down_is_503_for_what_is_to_be_rewritten_and_no_text_leaves() -> None:
    def break_off(_: object) -> str:
        raise ModelUnavailableError("away")

    front = Front(detoxifier=FakeDetoxifier(break_off))
    answer = await front.post("/v1/conversations:moderate", json.loads(encode(response=f"harm=0.9 {SECRET}")))
    assert error_of(answer, 503)["code"] == "model_unavailable"
    assert SECRET not in answer.text
    # Whoever only asks for a judgement needs none.
    assert (await front.moderate("harm=0.9"))["results"][0]["flagged"] is True


class _Away(FakeGenerator):
    """Is not there."""

    async def generate(self, events: Sequence[ConversationEvent]) -> list[Answer | ItemFailure]:
        """Raise."""
        raise ModelUnavailableError("away")


def test_every_status_is_one_that_its_code_deserves() -> None:
    retried = {code for code, status in STATUSES.items() if status in {408, 409, 429} or status >= 500}
    assert retried == {
        *("body_too_slow", "idempotency_key_in_use", "overloaded", "internal_error", "not_ready"),
        *("invalid_answer", "model_unavailable", "deadline_passed", "rate_limited"),
    }


json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *("input", "model", "events", "type", "text", "role", "content", "image_url", "url", "x"),
                    *("messages", "n", "tools", "stop", "moderation", "tool_calls"),
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@every_call
@settings(max_examples=60)
@given(content=st.binary(max_size=40) | json_values.map(lambda value: json.dumps(value).encode()))
async def test_whatever_is_posted_is_answered_in_a_known_form(path: str, content: bytes) -> None:
    answer: httpx.Response = await Front(settings=HttpSettings()).post(path, content)
    if answer.status_code == 200:
        assert set(answer.json()) & {"results", "action", "choices"}
    else:
        assert answer.status_code in {400, 404, 422}
        error_of(answer, answer.status_code)

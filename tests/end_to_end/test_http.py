"""`weir serve --http-only` as a process of its own: no Kafka, no Redis; OpenAI's client, large bodies, the end."""

import json
import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import yaml

from protector_models.moderation.verdict import ModeratedConversation
from services.free_ports import free_ports
from tests.end_to_end.processes import ServeProcess, wait_until
from tests.pages import PAGES
from tests.protector_models.endpoints.chat_server import ChatServer, Reply, answer, stream
from tests.protector_models.endpoints.chat_thread import serve_chat
from tests.shown_calls import ShownCall, shown_calls
from tests.wire import encode

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

CALLS = [call for page in PAGES for call in shown_calls(page)]
POLICY = (
    "version: {}\nrules: [{{category: any, threshold: 0.494, action: rewrite}}]\nsafe_completions: {{default: a}}\n"
)
HTTP_ONLY = ("-m", "pipelines", "serve", "--http-only", "--config")


@pytest.fixture(scope="module")
def port() -> int:
    return free_ports(1)[0]


def reply(_: int, body: dict[str, Any]) -> Reply:
    """Say what the question says, as a stream where that is asked for."""
    said = body["messages"][-1]["content"]
    return stream(*({"content": f"{word} "} for word in said.split(" "))) if body.get("stream") else answer(said)


@pytest.fixture(scope="module")
def mllm() -> Iterator[ChatServer]:
    with serve_chat(reply) as server:
        yield server


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("http")


@pytest.fixture(scope="module")
def served(port: int, mllm: ChatServer, folder: Path) -> Iterator[ServeProcess]:
    """A front on this machine, whose models are up."""
    (folder / "policy.yaml").write_text(POLICY.format("mine-1"))
    config = {
        "policy": "policy.yaml",
        "policy_reload_s": 0.2,
        "http": {"port": port, "max_body_bytes": 1_000_000},
        "images": {"read": "off"},
        "mllm": {"kind": "openai", "base_url": mllm.base_url, "model": "m"},
        "serve": {"detector": {"num_cpus": 0.5}},
    }
    (folder / "weir.yaml").write_text(yaml.safe_dump(config))

    def is_ready() -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    with ServeProcess(folder / "weir.yaml", folder / "serve.log", program=HTTP_ONLY) as process:
        wait_until(is_ready, process)
        yield process


@pytest.fixture
def client(served: ServeProcess, port: int) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as found:
        yield found


def test_openais_client_is_answered_by_the_detector_that_ships(served: ServeProcess, port: int) -> None:
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as client:
        harmless, harmful = client.moderations.create(
            input=["Simmer the tomatoes for an hour.", "You are a stupid worthless idiot and I hope you die."]
        ).results
    assert (harmless.flagged, harmful.flagged) == (False, True)
    assert harmful.categories.harassment is True


def test_openais_client_chats_and_what_is_harmful_does_not_come_through(served: ServeProcess, port: int) -> None:
    harmless = "Simmer the tomatoes for an hour, then let them cool before you taste them. "
    harmful = "You are a stupid worthless idiot and I hope you die, everybody hates you. "
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as client:
        create = client.chat.completions.create
        whole = create(model="m", messages=[{"role": "user", "content": harmless}])
        assert whole.choices[0].message.content == harmless
        said = ""
        question: Any = {"role": "user", "content": harmless + harmful + harmless}
        for chunk in create(model="m", messages=[question], stream=True):
            said += chunk.choices[0].delta.content or ""
    assert said.startswith(harmless.rstrip())
    assert "worthless" not in said
    assert chunk.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.page}: {call.command.split()[1]}")
def test_the_calls_that_pages_show_are_answered_as_they_show_it(
    call: ShownCall, served: ServeProcess, port: int, tmp_path: Path
) -> None:
    (tmp_path / ".curlrc").write_text('silent\nshow-error\nwrite-out = "\\n%{http_code}"\n')
    finished = subprocess.run(
        ["bash", "-c", call.command_at(f"http://127.0.0.1:{port}")],
        env={**os.environ, "CURL_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    answer, _, status = finished.stdout.rpartition("\n")
    assert status == "200", finished.stdout + finished.stderr
    assert call.differences(json.loads(answer)) == []


def test_pages_show_calls_and_an_answer() -> None:
    assert {str(call.page) for call in CALLS} >= {"README.md", "docs/http.md"}
    assert any(call.answer for call in CALLS)


def test_an_event_is_moderated_and_a_request_has_one_id(client: httpx.Client) -> None:
    answer = client.post(
        "/v1/conversations:moderate",
        content=encode(),
        headers={"content-type": "application/json", "x-request-id": "abc"},
    )
    assert ModeratedConversation.model_validate_json(answer.content).response == "Take the bus."
    assert answer.headers.get_list("x-request-id") == ["abc"]


def test_errors_are_in_the_envelope_whoever_refuses(client: httpx.Client) -> None:
    answers = [
        client.post("/v1/moderations", content=b"{", headers={"content-type": "application/json"}),
        client.post("/v1/moderations", json={"input": "x" * 50_000_000}),
        client.get("/v1/unknown"),
        client.get("/v1/moderations"),
        client.post(
            "/v1/moderations",
            json={"input": [f"text {number} of many" for number in range(900)]},
            headers={"x-request-timeout-seconds": "3"},
        ),
    ]
    codes = [answer.json()["error"]["code"] for answer in answers]
    assert codes == ["invalid_json", "body_too_large", "unknown_url", "method_not_allowed", "deadline_passed"]


def test_a_client_that_hangs_up_leaves_the_front_well(client: httpx.Client, port: int) -> None:
    body = json.dumps({"input": [f"text {number} to hang up on" for number in range(900)]}).encode()
    request = (
        b"POST /v1/moderations HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    )
    for content in (body, body[:10]):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(request % len(body) + content)
    assert client.post("/v1/moderations", json={"input": "fine"}).status_code == 200


def test_a_changed_policy_is_in_force_without_a_restart_and_a_broken_one_is_not(
    client: httpx.Client, folder: Path, served: ServeProcess
) -> None:
    def version() -> str:
        (result,) = client.post("/v1/moderations", json={"input": "fine"}).json()["results"]
        return str(result["weir"]["policy_version"]).partition("@")[0]

    assert version() == "mine-1"
    (folder / "policy.yaml").write_text("version: broken\nrules: a secret text\n")
    wait_until(lambda: "the policy file cannot be used" in served.log(), served)
    assert version() == "mine-1"
    (folder / "policy.yaml").write_text(POLICY.format("mine-2"))
    wait_until(lambda: version() == "mine-2", served)
    assert "a secret text" not in served.log()


def test_a_signal_ends_it_with_0_and_its_log_has_said_where_it_listens(served: ServeProcess, port: int) -> None:
    assert served.terminate() == 0
    log = served.log()
    # Ray Serve tells with a traceback that a model was busy for a moment with what a client had given up.
    of_the_front = "".join(line for line in log.splitlines(keepends=True) if "HttpFront" in line)
    assert "is ready" in of_the_front
    assert "Traceback" not in of_the_front
    assert f"http://127.0.0.1:{port}" in log
    assert "this machine only" in log
    assert "hope you die" not in log

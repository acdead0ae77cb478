"""`weir answer` from the command line, over a chat endpoint on loopback and over a tiny model."""

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.pipelines.commands.command_line import Finished, weir
from tests.protector_models.endpoints.chat_server import ChatServer, Reply, stream
from tests.protector_models.endpoints.chat_thread import serve_chat

NOTE = "weir: this is what the MLLM itself says; nobody has moderated it"


def reply_to(_number: int, body: dict[str, Any]) -> Reply:
    """Answer what the last part of the question asks for."""
    text = body["messages"][-1]["content"][-1]["text"]
    if text == "half":
        return replace(stream({"content": "Take "}, done=False), ending="cut")
    if text == "refuse":
        return Reply(status=400)
    return stream({"content": "Take "}, {"content": "the \x1b[2Jbus."})


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serve_chat(reply_to) as server:
        yield server


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "picture.jpg"  # named wrongly: what it is stands in its first bytes
    Image.new("RGB", (8, 8), "red").save(path, "PNG")
    return path


def ask(server: ChatServer, tmp_path: Path, *arguments: object, stdin: bytes = b"") -> Finished:
    config = tmp_path / "weir.yaml"
    config.write_text(f"mllm: {{kind: openai, base_url: '{server.base_url}', model: llava}}")
    return weir("answer", "--config", config, *arguments, stdin=stdin)


def test_the_answer_is_printed_and_cannot_steer_the_terminal(server: ChatServer, tmp_path: Path) -> None:
    finished = ask(server, tmp_path, "How do I get home?")
    assert (finished.status, finished.stdout) == (0, "Take the ·[2Jbus.\n".encode())
    assert finished.stderr.splitlines()[0] == NOTE  # the endpoint logs to the same stream


def test_json_has_the_whole_answer_and_who_gave_it(server: ChatServer, tmp_path: Path) -> None:
    finished = ask(server, tmp_path, "--json", "How do I get home?")
    found = json.loads(finished.stdout)
    assert found["answer"] == "Take the \x1b[2Jbus."
    assert found["mllm"].startswith("llava@")


def test_images_come_before_the_text_in_order_and_as_data_urls(
    server: ChatServer, tmp_path: Path, picture: Path
) -> None:
    second = tmp_path / "second"
    Image.new("RGB", (8, 8), "blue").save(second, "JPEG")
    assert ask(server, tmp_path, "--image", picture, "--image", second, "-", stdin=b"What\nis this?").status == 0
    *images, text = server.bodies[0]["messages"][0]["content"]
    heads, contents = zip(*(image["image_url"]["url"].split(",") for image in images), strict=True)
    assert heads == ("data:image/png;base64", "data:image/jpeg;base64")
    assert [base64.b64decode(content) for content in contents] == [picture.read_bytes(), second.read_bytes()]
    assert text == {"type": "text", "text": "What\nis this?"}


def test_half_an_answer_is_shown_and_is_an_error(server: ChatServer, tmp_path: Path) -> None:
    finished = ask(server, tmp_path, "half")
    assert (finished.status, finished.stdout) == (1, b"Take \n")
    assert "broke off" in finished.stderr


def test_what_the_model_cannot_answer_has_a_status_of_its_own(server: ChatServer, tmp_path: Path) -> None:
    finished = ask(server, tmp_path, "refuse")
    assert (finished.status, finished.stdout) == (3, b"")
    assert "RefusedByEndpoint: status 400" in finished.stderr


@pytest.mark.parametrize(
    ("content", "message"), [(b"<svg/>", "expected a PNG"), (None, "No such file")], ids=["no picture", "no file"]
)
def test_a_wrong_picture_is_a_wrong_call(
    server: ChatServer, tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "p.svg"
    if content is not None:
        path.write_bytes(content)
    finished = ask(server, tmp_path, "--image", path, "What is this?")
    assert finished.status == 2
    assert message in finished.stderr
    assert server.bodies == []


def test_without_an_mllm_the_configuration_is_at_fault() -> None:
    finished = weir("answer", "How do I get home?")
    assert finished.status == 2
    assert "mllm.kind: expected 'transformers' or 'openai', got 'off'" in finished.stderr


@pytest.mark.training
def test_a_model_that_runs_here_is_asked(tmp_path: Path, picture: Path) -> None:
    from protector_models.tiny_checkpoints.mllms import configuration, write_llava  # noqa: PLC0415  # takes seconds

    config = tmp_path / "weir.yaml"
    config.write_text(json.dumps(configuration(write_llava(tmp_path / "llava"))))
    shown, named = (
        weir("answer", "--config", config, "--image", picture, *options, "What is this?")
        for options in ((), ("--json",))
    )
    assert (shown.status, named.status) == (0, 0)
    assert json.loads(named.stdout)["answer"] == shown.stdout.decode().removesuffix("\n")
    assert len(shown.stdout) > 20

"""A real LiteLLM proxy in front of a model and of Weir, with OpenAI's client before it."""

import asyncio
import os
import re
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import psutil
import pytest
import yaml
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic_core import to_json

from services.free_ports import free_ports
from services.http.settings import HttpSettings
from tests.builders import policy
from tests.gateways.environment import find_python
from tests.services.http.front import HARM_ME, Front
from tests.services.http.guardrail_calls import PatientDetector
from tests.services.http.keys import KEYS, bearer
from tests.services.http.served import serving

pytestmark = [pytest.mark.gateways, pytest.mark.xdist_group("gateways"), pytest.mark.timeout(300)]

_DOCS = Path(__file__).parents[2] / "docs" / "http.md"
_KEY = bearer("acme")["authorization"].removeprefix("Bearer ")
MASTER_KEY = f"sk-{secrets.token_hex(32)}"
"""Of the proxies, which start with no weak one."""
_START_TIMEOUT_S = 240.0

PLAIN = "Take the night train, it needs two days and a little patience. "
HARM = f"This part is {HARM_ME} and much too long to be passed over."
ANSWER = f"{PLAIN * 3}{HARM} {PLAIN * 3}"
GUARDED = f"{PLAIN * 3}[left out] {PLAIN * 3}"
OMITTING = policy(rewrite_methods={"default": ["omit", "complete"]}, omissions={"default": "[left out]"})


def upstream() -> FastAPI:
    """Return a model that answers with what it is told, word by word where it streams."""
    app = FastAPI()

    @app.post("/v1/chat/completions")
    async def complete(request: Request) -> Any:
        asked = await request.json()
        text = asked["messages"][-1]["content"]
        common = {"id": "c-1", "created": 1, "model": "echo"}
        if not asked.get("stream"):
            message = {"role": "assistant", "content": text}
            choice = {"index": 0, "finish_reason": "stop", "message": message}
            usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
            return JSONResponse({**common, "object": "chat.completion", "choices": [choice], "usage": usage})

        async def stream() -> AsyncIterator[bytes]:
            deltas = [
                {"role": "assistant", "content": ""},
                *({"content": word} for word in re.findall(r"\S+\s*", text)),
            ]
            for delta in [*deltas, {}]:
                choice = {"index": 0, "finish_reason": None if delta else "stop", "delta": delta}
                chunk = {**common, "object": "chat.completion.chunk", "choices": [choice]}
                yield b"data: %b\n\n" % to_json(chunk)
                await asyncio.sleep(0)
            yield b"data: [DONE]\n\n"

        return StreamingResponse(stream(), media_type="text/event-stream")

    return app


@dataclass(frozen=True, kw_only=True)
class Proxies:
    """Clients of two proxies."""

    documented: openai.OpenAI
    """Of the one that is configured as `docs/http.md` says."""
    default: openai.OpenAI
    """Of the one with LiteLLM's defaults, where a request names its guardrails."""
    front: Front


def documented_guardrails(weir: str) -> str:
    """Return what stands in the docs, with another address."""
    blocks = re.findall(r"```yaml\n(guardrails:.*?)```", _DOCS.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 1
    assert blocks[0].count("http://127.0.0.1:8080") == 1
    found: str = blocks[0].replace("http://127.0.0.1:8080", weir)
    return found


def default_guardrails(weir: str) -> str:
    """Return guardrails that say no more than they must."""
    generic = {
        "guardrail": "generic_guardrail_api",
        "mode": ["pre_call", "post_call"],
        "api_base": weir,
        "api_key": _KEY,
    }
    moderation = {"guardrail": "openai_moderation", "mode": "post_call", "api_base": f"{weir}/v1", "api_key": _KEY}
    named = {"default": generic, "moderation": moderation}
    guardrails = [{"guardrail_name": name, "litellm_params": params} for name, params in named.items()]
    return yaml.safe_dump({"guardrails": guardrails})


@pytest.fixture(scope="module")
def proxies(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxies]:
    folder = tmp_path_factory.mktemp("litellm")
    front = Front(settings=HttpSettings(keys=KEYS), policy=OMITTING, detector=PatientDetector(), detoxifier=None)
    with ExitStack() as stack:
        weir, model = stack.enter_context(serving(front.app)), stack.enter_context(serving(upstream()))
        parameters = {"model": "openai/echo", "api_base": f"{model}/v1", "api_key": "none"}
        models = yaml.safe_dump({"model_list": [{"model_name": "echo", "litellm_params": parameters}]})
        ports, arguments = free_ports(2), []
        for port, guardrails in zip(ports, (documented_guardrails(weir), default_guardrails(weir)), strict=True):
            config = folder / f"{port}.yaml"
            config.write_text(models + guardrails, encoding="utf-8")
            arguments += [str(port), str(config)]
        stack.enter_context(_running(arguments, folder / "litellm.log", ports))
        documented, default = (
            stack.enter_context(
                openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=MASTER_KEY, max_retries=0)
            )
            for port in ports
        )
        yield Proxies(documented=documented, default=default, front=front)


class _running:  # noqa: N801  (used as a function)
    """The proxies, for as long as the block runs."""

    def __init__(self, arguments: list[str], log: Path, ports: list[int]) -> None:
        self._log = log
        self._ports = ports
        names = {name: value for name, value in os.environ.items() if name not in _UNSET}
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [str(find_python()), str(Path(__file__).with_name("run_proxies.py")), *arguments],
                stdout=output,
                stderr=output,
                env={
                    **names,
                    "WEIR_API_KEY": _KEY,
                    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
                    "LITELLM_MASTER_KEY": MASTER_KEY,
                },
                cwd=log.parent,
            )

    def __enter__(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        for port in self._ports:
            while not _answers(port):
                said = self._log.read_text(encoding="utf-8", errors="replace")[-4_000:]
                assert self._process.poll() is None, said
                assert time.monotonic() < deadline, said
                time.sleep(0.2)

    def __exit__(self, *_: object) -> None:
        parent = psutil.Process(self._process.pid)
        for process in [*parent.children(recursive=True), parent]:
            process.kill()
        self._process.wait(30)


_UNSET = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "OPENAI_API_KEY", "DATABASE_URL"}
"""What a proxy is not to have from here. Its first start compiles what it imports, and keeps it."""


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/liveliness", timeout=5).status_code == 200
    except httpx.TransportError:
        return False


def streamed(client: openai.OpenAI, text: str, **more: Any) -> tuple[str, openai.APIError | None]:
    """Return what came of a stream, and the error that it ended with."""
    came = ""
    try:
        for chunk in client.chat.completions.create(
            model="echo", messages=[{"role": "user", "content": text}], stream=True, **more
        ):
            came += "".join(choice.delta.content or "" for choice in chunk.choices)
    except openai.APIError as error:
        return came, error
    return came, None


def complete(client: openai.OpenAI, text: str, **more: Any) -> str:
    """Return an answer that comes whole."""
    completion = client.chat.completions.create(model="echo", messages=[{"role": "user", "content": text}], **more)
    return completion.choices[0].message.content or ""


def test_litellms_default_lets_a_harmful_sentence_out(proxies: Proxies) -> None:
    came, _ = streamed(proxies.default, ANSWER, extra_body={"guardrails": ["default"]})
    assert HARM in came
    assert "[left out]" not in came


def test_as_the_docs_say_nothing_harmful_comes_and_what_stands_in_for_it_does(proxies: Proxies) -> None:
    came, error = streamed(proxies.documented, ANSWER)
    assert error is None
    assert came == GUARDED
    assert complete(proxies.documented, ANSWER) == GUARDED


def test_a_harmless_answer_comes_as_it_is_and_is_judged_with_its_question(proxies: Proxies) -> None:
    proxies.front.detector.assessed.clear()
    text = PLAIN * 3
    assert streamed(proxies.documented, text) == (text, None)
    assert {exchange.prompt for exchange in proxies.front.detector.assessed} == {text}
    assert complete(proxies.documented, text) == text


def test_openais_stream_helper_gets_the_guarded_answer(proxies: Proxies) -> None:
    with proxies.documented.chat.completions.stream(
        model="echo", messages=[{"role": "user", "content": ANSWER}]
    ) as stream:
        completion = stream.get_final_completion()
    assert completion.choices[0].message.content == GUARDED
    assert completion.choices[0].finish_reason == "stop"


def test_an_outage_ends_the_stream_before_anything_comes(proxies: Proxies) -> None:
    proxies.front.detector.unavailable = True
    try:
        came, error = streamed(proxies.documented, f"Something that nobody has judged before. {PLAIN}")
    finally:
        proxies.front.detector.unavailable = False
    assert came == ""
    assert error is not None


def test_litellms_guardrail_for_openais_moderation_blocks_by_our_base_url_alone(proxies: Proxies) -> None:
    guarded: dict[str, Any] = {"extra_body": {"guardrails": ["moderation"]}}
    assert complete(proxies.default, PLAIN, **guarded) == PLAIN
    with pytest.raises(openai.BadRequestError, match="moderation"):
        complete(proxies.default, ANSWER, **guarded)
    # As the docs say: of a stream it is told too late.
    came, _ = streamed(proxies.default, ANSWER, **guarded)
    assert HARM_ME in came

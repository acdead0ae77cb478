"""What the clients are answered by the front, behind a real server."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import ASGIApp, Receive, Scope, Send

from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.fakes import POISON
from protector_models.moderation.messages.message import ImagePart, ImageUrl, Message, TextPart
from protector_models.moderation.verdict import Action, ModeratedConversation
from services.client.asynchronous import AsyncWeirClient
from services.client.errors import BadCallError, NotJudgedError, UnknownKeyError, UnreachableError
from services.http.conversations import FailedEvent
from services.http.settings import HttpSettings
from tests.builders import event
from tests.services.client.clients import CLIENTS, OpensClient
from tests.services.http.front import HARM_ME, Front
from tests.services.http.keys import KEYS, bearer
from tests.services.http.served import serving
from tests.wire import encode

IMAGE = "data:image/png;base64,AAAA"
KEY = bearer("acme")["authorization"].removeprefix("Bearer ")

both_clients = pytest.mark.parametrize("open_client", CLIENTS, ids=["synchronous", "asynchronous"])


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    front = Front(images={IMAGE: b"harm=0.9 category=violence"})
    with serving(front.app) as found:
        yield found


@both_clients
def test_texts_have_a_result_each(open_client: OpensClient, address: str) -> None:
    with open_client(address) as client:
        answer = client.moderate_texts(["fine", HARM_ME])
        assert [result.flagged for result in answer.results] == [False, True]
        assert answer.results[1].weir.action is Action.REWRITE
        # A text is a text, and no list of its characters.
        assert len(client.moderate_texts(HARM_ME, model="weir").results) == 1


texts = st.lists(st.sampled_from(["fine", HARM_ME, "harm=1 category=violence", "ü", "\x00"]), min_size=1, max_size=5)


@given(texts)
async def test_the_client_says_what_the_front_has_said(given_texts: list[str]) -> None:
    front = Front()
    async with AsyncWeirClient("http://front", transport=httpx.ASGITransport(app=front.app)) as client:
        answer = await client.moderate_texts(given_texts)
    raw = await front.moderate(given_texts)
    assert json.loads(answer.model_dump_json())["results"] == [
        {**result, "weir": {**result["weir"], "cached": answer.results[position].weir.cached}}
        for position, result in enumerate(raw["results"])
    ]


@both_clients
def test_parts_are_judged_as_one(open_client: OpensClient, address: str) -> None:
    parts = [TextPart(type="text", text="Look!"), ImagePart(type="image_url", image_url=ImageUrl(url=IMAGE))]
    with open_client(address) as client:
        [result] = client.moderate_parts(parts).results
    assert result.categories["violence"] is True


@both_clients
def test_conversations_have_a_result_each_in_whatever_form_they_are(open_client: OpensClient, address: str) -> None:
    said: list[Any] = [
        [Message(role="user", content="How?"), Message(role="assistant", content=HARM_ME)],
        [{"role": "user", "content": "How?"}, {"role": "assistant", "content": [{"type": "text", "text": "So."}]}],
    ]
    with open_client(address) as client:
        answer = client.moderate_conversations(said)
    assert [result.flagged for result in answer.results] == [True, False]


@both_clients
def test_events_come_back_moderated_and_one_that_fails_has_no_verdict(open_client: OpensClient, address: str) -> None:
    events = [event(response=HARM_ME), event(response=POISON), json.loads(encode(response="fine"))]
    with open_client(address) as client:
        harmful, failed, fine = client.moderate_events(events)
        [shadowed] = client.moderate_events(events[:1], shadow=True)
    assert (harmful.action, harmful.response) == (Action.REWRITE, "rewritten, attempt 0")
    assert isinstance(failed, FailedEvent)
    assert failed.error.code == "not_judged"
    assert isinstance(fine, ModeratedConversation)
    assert (shadowed.response, shadowed.shadow_action) == (HARM_ME, Action.REWRITE)


@both_clients
def test_the_same_events_under_a_key_are_answered_once(open_client: OpensClient) -> None:
    front = Front()
    with serving(front.app) as address, open_client(address) as client:
        first, second = (client.moderate_events([event(response="fine")], idempotency_key="7f") for _ in range(2))
        assert first == second
        with pytest.raises(BadCallError, match="422 idempotency_key_reused"):
            client.moderate_events([event(response="other")], idempotency_key="7f")
        with pytest.raises(ValueError, match="idempotency_key"):
            client.moderate_events([event(response="other")], idempotency_key="a\nb")
    assert len(front.detector.assessed) == 1


@both_clients
def test_a_key_stands_for_its_tenant(open_client: OpensClient) -> None:
    nobodys = ConversationEvent.model_validate_json(encode("tenant", response="fine"))
    assert "tenant" not in nobodys.model_fields_set
    with serving(Front(settings=HttpSettings(keys=KEYS)).app) as address:
        with open_client(address, api_key=KEY) as client:
            [result] = client.moderate_events([nobodys])
            [policy] = client.list_policies().data
        assert (result.tenant, policy.tenant) == ("acme", "acme")
        with open_client(address, api_key="wrong") as client, pytest.raises(UnknownKeyError):
            client.list_policies()
    with pytest.raises(ValueError, match="api_key") as refused, open_client(api_key="a\nb"):
        pass
    assert "a\nb" not in str(refused.value)


@both_clients
def test_readiness_is_told_at_once(open_client: OpensClient) -> None:
    front = Front(is_ready=False)
    with serving(front.app) as address, open_client(address) as client:
        assert client.is_ready() is False
        front.become_ready()
        assert client.is_ready() is True
    with open_client(address) as client, pytest.raises(UnreachableError):
        client.is_ready()


@both_clients
def test_what_is_refused_is_an_error_with_its_code_and_without_content(open_client: OpensClient, address: str) -> None:
    with open_client(address) as client, pytest.raises(BadCallError) as refused:
        client.moderate_texts(["fine", ""])
    error = refused.value
    assert (error.status, error.code) == (400, "invalid_value")
    assert str(error.param).startswith("input")
    assert error.request_id is not None
    assert error.request_id in str(error)
    with open_client(address) as client, pytest.raises(NotJudgedError) as unjudged:
        client.moderate_texts(f"{POISON} secret")
    assert "secret" not in str(unjudged.value)


@both_clients
def test_a_text_without_a_form_in_utf_8_is_the_fronts_to_refuse(open_client: OpensClient, address: str) -> None:
    with open_client(address) as client, pytest.raises(BadCallError):
        client.moderate_texts("\ud800")


@both_clients
def test_connections_are_kept(open_client: OpensClient) -> None:
    front, ports = Front(), set()

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            ports.add(scope["client"][1])
        await front.app(scope, receive, send)

    app: ASGIApp = noting
    with serving(app) as address, open_client(address) as client:
        for _ in range(3):
            client.moderate_texts("fine")
    assert len(ports) == 1


def test_the_client_takes_neither_models_nor_servers_along() -> None:
    program = "import sys, services.client.synchronous, services.client.asynchronous; print(*sys.modules)"
    listed = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout
    heavy = {"ray", "torch", "transformers", "onnxruntime", "numpy", "fastapi", "uvicorn", "kafka", "redis"}
    assert heavy & set(listed.split()) == set()

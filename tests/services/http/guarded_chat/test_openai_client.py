"""OpenAI's own client, unmodified, chats through a real server."""

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import openai
import pydantic
import pytest

from protector_models.moderation.errors import ModelUnavailableError
from protector_models.moderation.fake_chat import Chunk, FakeChatModel, chunk_of
from protector_models.moderation.verdict import Action
from services.http.settings import ChatSettings, HttpSettings
from tests.builders import SAFE_TEXT, policy, rule
from tests.services.http.front import HARM_ME, Front
from tests.services.http.served import serving

PLAIN = "This part says how to get home by bus, at night as well. "
HARM = "This part is harm=0.9 category=hate and much too long to be passed over. "
RULES = policy(rules=[rule(), rule(0.95, Action.BLOCK)])


def write(request: Chunk) -> Iterator[Chunk]:
    """Answer as the question says; tell at the end how many tokens there were."""
    messages: Any = request["messages"]
    question = messages[-1]["content"]
    if "call" in question:
        yield chunk_of(tool_calls=[{"index": 0, "id": "call_1", "function": {"name": "go", "arguments": '{"to":'}}])
        yield chunk_of(tool_calls=[{"index": 0, "function": {"arguments": ' "home"}'}}])
        yield chunk_of(finish_reason="tool_calls")
        return
    if "break" in question:
        yield chunk_of(PLAIN * 2)
        raise ModelUnavailableError("gone")
    for index in range(int(str(request.get("n", 1)))):
        for word in question.split(" "):
            yield chunk_of(f"{word} ", index=index)
        yield chunk_of(index=index, finish_reason="stop")
    yield {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}


@pytest.fixture(scope="module")
def client() -> Iterator[openai.OpenAI]:
    front = Front(detoxifier=None, policy=RULES, chat=FakeChatModel(write))
    with serving(front.app) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as found:
        yield found


def ask(text: str) -> dict[str, Any]:
    return {"model": "fake-chat", "messages": [{"role": "user", "content": text}]}


def test_an_answer(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**ask(PLAIN), n=2)
    assert [choice.message.content for choice in answer.choices] == [f"{PLAIN} "] * 2
    assert answer.usage is not None
    assert answer.usage.total_tokens == 3
    assert answer.moderation is not None
    assert answer.moderation.output.type == "moderation_results"
    type(answer).model_validate(answer.model_dump(by_alias=True), strict=True)


def test_a_rewritten_answer_and_one_that_is_withheld(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**ask(HARM_ME))
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == (SAFE_TEXT, "stop")
    answer = client.chat.completions.create(**ask("harm=1.0"))
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("", "content_filter")


def test_a_stream_as_the_clients_own_examples_read_it(client: openai.OpenAI) -> None:
    said = ""
    for chunk in client.chat.completions.create(**ask(PLAIN + HARM + PLAIN), stream=True):
        said += chunk.choices[0].delta.content or ""
        type(chunk).model_validate(chunk.model_dump(by_alias=True), strict=True)
    assert said == f"{PLAIN.rstrip()}\n\n{SAFE_TEXT}"


def test_a_stream_with_moderation_and_usage(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"stream_options": {"include_usage": True}, "moderation": {"model": "weir"}}
    *_, told, usage = list(client.chat.completions.create(**ask(PLAIN), **options, stream=True))
    assert (told.choices, usage.choices) == ([], [])
    assert told.moderation is not None
    assert told.moderation.output.type == "moderation_results"
    assert told.moderation.output.results[0].flagged is False
    assert usage.usage is not None
    assert usage.usage.total_tokens == 3


def test_the_stream_helper_puts_an_answer_together(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**ask(PLAIN + HARM)) as stream:
        kinds = {event.type for event in stream}
        final = stream.get_final_completion()
    assert "content.delta" in kinds
    assert final.choices[0].message.content == f"{PLAIN.rstrip()}\n\n{SAFE_TEXT}"


def test_calls_of_tools(client: openai.OpenAI) -> None:
    tool: Any = {"type": "function", "function": {"name": "go", "strict": True, "parameters": {"type": "object"}}}
    answer = client.chat.completions.create(**ask("call!"), tools=[tool], stream=True)
    calls = [call for chunk in answer for call in chunk.choices[0].delta.tool_calls or []]
    assert [call.function and call.function.arguments for call in calls] == ['{"to": "home"}']
    assert [bool(call.id) for call in calls] == [True]


class Place(pydantic.BaseModel):
    name: str
    score: float = 0


def test_answers_of_a_form_are_parsed_or_known_to_be_withheld(client: openai.OpenAI) -> None:
    parsed = client.chat.completions.parse(**ask('{"name":"home","score":0}'), response_format=Place)
    assert parsed.choices[0].message.parsed == Place(name="home")
    with pytest.raises(openai.ContentFilterFinishReasonError):
        client.chat.completions.parse(**ask('{"name":" harm=0.9 ","score":0}'), response_format=Place)


def test_the_stream_helper_raises_where_an_answer_was_withheld(client: openai.OpenAI) -> None:
    with client.chat.completions.stream(**ask("harm=1.0")) as stream:
        with pytest.raises(openai.ContentFilterFinishReasonError):
            stream.get_final_completion()
        assert stream.current_completion_snapshot.choices[0].finish_reason == "content_filter"


def test_a_stream_that_breaks_off_is_an_error_with_its_code(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(**ask("break"), stream=True)
    with pytest.raises(openai.APIError) as broken:
        list(stream)
    assert broken.value.code == "model_unavailable"


def test_errors_before_a_stream_have_a_status(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(**ask("x"), n=100, stream=True)
    assert bad.value.param == "n"
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "x"}])


class _Held(FakeChatModel):
    """Writes nothing until it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()
        self.has_begun = threading.Event()

    async def complete(self, request: Chunk) -> Chunk:
        """Wait, then answer."""
        self.has_begun.set()
        await asyncio.to_thread(self.go_on.wait)
        return await super().complete(request)


def test_the_client_tries_again_what_was_refused_for_overload() -> None:
    chat = _Held()
    front = Front(settings=HttpSettings(max_concurrent_requests=1), chat=chat)
    with serving(front.app) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="x") as client:
        first = threading.Thread(target=client.chat.completions.create, kwargs=ask("first"))
        first.start()
        assert chat.has_begun.wait(10)
        with pytest.raises(openai.RateLimitError):
            client.with_options(max_retries=0).chat.completions.create(**ask("second"))
        threading.Timer(0.2, chat.go_on.set).start()
        # Its answer to 429 is to wait for a second, as it is told, and to ask again.
        assert client.chat.completions.create(**ask("second")).choices[0].message.content == "second"
        first.join()


def test_whoever_has_read_a_stream_to_its_end_may_come_again_at_once() -> None:
    front = Front(settings=HttpSettings(max_concurrent_requests=1), chat=FakeChatModel(write))
    with serving(front.app) as address, openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as client:
        for _ in range(20):
            assert list(client.chat.completions.create(**ask(PLAIN), stream=True))


def test_the_asynchronous_client_stops_reading_and_the_writing_ends() -> None:
    def forever(_: Chunk) -> Iterator[Chunk]:
        while True:
            yield chunk_of(PLAIN)

    chat = FakeChatModel(forever)
    front = Front(chat=chat, settings=HttpSettings(chat=ChatSettings(keep_alive_s=0.1)))

    async def read_a_little(address: str) -> None:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="x") as client:
            async with await client.chat.completions.create(**ask("x"), stream=True) as stream:
                async for chunk in stream:
                    if chunk.choices[0].delta.content:
                        break
            async with asyncio.timeout(10):
                while chat.num_open:  # noqa: ASYNC110  (it is counted on the server's thread)
                    await asyncio.sleep(0.01)

    with serving(front.app) as address:
        asyncio.run(read_a_little(address))

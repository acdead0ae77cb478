"""Laws of guarded streams: however the MLLM writes, no character leaves the server that was not judged before."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import JsonValue

from protector_models.moderation.fake_chat import Chunk, FakeChatModel, chunk_of
from protector_models.moderation.fakes import FakeHarmDetector
from protector_models.moderation.held_back import HeldBackAnswer
from protector_models.moderation.policy.policy import Policy
from tests.builders import SAFE_TEXT, event, policy
from tests.services.http.front import Front
from tests.services.http.guarded_chat.listening import USER, Heard, Listener

HARM = "This part is harm=0.9 category=hate and much too long to be passed over. "
PLAIN = "This part says how to get home by bus, at night as well. "

Texts = st.lists(
    st.sampled_from(
        [PLAIN, HARM, "Yes! ", "1. First\n", "```\nx = 1\n\n", "Dr. Hill ", "。", "\n\n", "  ", "word " * 90]
    )
    | st.text(alphabet="ab1.!? \n-é😀", max_size=30),
    max_size=10,
).map("".join)
Cuts = st.lists(st.integers(0, 900), max_size=12)


def in_pieces(text: str, cuts: Sequence[int]) -> list[str]:
    """Cut a text anywhere."""
    places = [0, *sorted({min(cut, len(text)) for cut in cuts}), len(text)]
    return [text[start:end] for start, end in pairwise(places)]


def writing(texts: Sequence[str], cuts: Sequence[Sequence[int]], *, field: str = "content") -> FakeChatModel:
    """Return an MLLM that writes several answers at the same time."""

    def write(_: Chunk) -> Iterator[Chunk]:
        waiting = [in_pieces(text, places) for text, places in zip(texts, cuts, strict=True)]
        while any(waiting):
            for index, pieces in enumerate(waiting):
                if pieces:
                    yield chunk_of(index=index, **{field: pieces.pop(0)})
        for index in range(len(texts)):
            yield chunk_of(index=index, finish_reason="stop")

    return FakeChatModel(write)


def places_of(passage: str, text: str) -> set[int]:
    """Return the characters of a text that lie in some occurrence of a passage."""
    starts = [start for start in range(len(text)) if passage and text.startswith(passage, start)]
    return {place for start in starts for place in range(start, start + len(passage))}


def require_judged(detector: FakeHarmDetector, said: str) -> None:
    """Require that each character of a text lies in something that was judged."""
    judged = {place for exchange in detector.assessed for place in places_of(exchange.response, said)}
    assert judged.issuperset(range(len(said)))


@settings(deadline=None, max_examples=25)
@given(texts=st.lists(st.tuples(Texts, Cuts), min_size=1, max_size=3), field=st.sampled_from(["content", "refusal"]))
async def test_no_character_leaves_the_server_that_was_not_judged(
    texts: list[tuple[str, list[int]]], field: str
) -> None:
    said = [text for text, _ in texts]
    front = Front(detoxifier=None, chat=writing(said, [cuts for _, cuts in texts], field=field))

    def look(heard: Heard) -> None:
        assert b"harm=" not in heard.body
        for index in range(len(said)):
            require_judged(front.detector, heard.text(index, field).removesuffix(f"\n\n{SAFE_TEXT}"))

    heard = await Listener(front.app, on_part=look).post({"messages": USER, "stream": True, "n": len(said)})
    assert heard.is_over
    assert heard.events[-1] == "data: [DONE]"
    for index, text in enumerate(said):
        assert heard.reasons(index) == ["stop"]
        assert heard.text(index, field) == await held_back(text)


async def held_back(text: str, *, rules: Policy | None = None) -> str:
    """Return what goes out of a text, however it comes."""
    front = Front(detoxifier=None, policy=rules or policy())
    held = HeldBackAnswer(event(None), front.moderator, front.policy.for_tenant("default"))
    return await held.read(text, is_whole=True)


@settings(deadline=None, max_examples=10)
@given(text=Texts, cuts=Cuts)
async def test_what_can_be_left_out_is_left_out_and_the_rest_goes_on(text: str, cuts: list[int]) -> None:
    rules = policy(rewrite_methods={"default": ["omit", "complete"]}, omissions={"default": "[left out]"})
    front = Front(detoxifier=None, policy=rules, chat=writing([text], [cuts]))
    heard = await Listener(front.app).post({"messages": USER, "stream": True})
    assert b"harm=" not in heard.body
    assert heard.text() == await held_back(text, rules=rules)


@settings(deadline=None, max_examples=10)
@given(arguments=st.text(alphabet='ab{}":\\ ', max_size=20), harm=st.booleans(), cuts=Cuts, before=Texts)
async def test_a_call_of_a_tool_goes_out_whole_and_judged_or_not_at_all(
    arguments: str, cuts: list[int], before: str, *, harm: bool
) -> None:
    arguments += " harm=0.9 " if harm else ""

    def write(_: Chunk) -> Iterator[Chunk]:
        yield chunk_of(before)
        yield call(id="call_1", function={"name": "go"})
        for piece in in_pieces(arguments, cuts):
            yield call(function={"arguments": piece})
        yield chunk_of(finish_reason="tool_calls")

    def call(**fields: JsonValue) -> Chunk:
        return chunk_of(tool_calls=[{"index": 0, **fields}])

    front = Front(detoxifier=None, chat=FakeChatModel(write))
    heard = await Listener(front.app).post({"messages": USER, "stream": True})
    calls = [call for delta in heard.deltas() for call in delta.get("tool_calls", [])]
    if harm or "harm=" in before:
        assert b"harm=" not in heard.body
        assert calls == []
        assert heard.reasons() == ["stop"]
    else:
        function = {"name": "go", "arguments": arguments}
        assert calls == [{"id": calls[0]["id"], "type": "function", "function": function, "index": 0}]
        assert "call_1" not in calls[0]["id"]
        assert heard.reasons() == ["tool_calls"]

"""Streams behind LiteLLM: whichever of their calls come, nothing is sent on that was not judged."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.fakes import FakeDetoxifier
from protector_models.moderation.policy.policy import Policy
from protector_models.moderation.ports import RewriteRequest
from protector_models.moderation.verdict import Action
from tests.builders import SAFE_TEXT, policy, rule
from tests.services.http.front import HARM_ME, Front
from tests.services.http.guardrail_calls import BlockedError, PatientDetector, Relay, ask, relay_round, remembered

HARM = f"This part is {HARM_ME} and much too long to be passed over."
PLAIN = "This part says how to get home by bus, at night as well. "
OMITTING = policy(rewrite_methods={"default": ["omit", "complete"]}, omissions={"default": "[left out]"})
BLOCKING = policy(rules=(rule(0.5, Action.BLOCK, category="hate"),))

Texts = st.lists(
    st.sampled_from(
        [PLAIN, f"{HARM} ", HARM, "Yes! ", "1. First\n", "Dr. Hill ", "\n\n", "  ", "word " * 90, "a" * 450]
    )
    | st.text(alphabet="ab1.!? \n-", max_size=30),
    min_size=1,
    max_size=8,
).map("".join)
Steps = st.lists(st.tuples(st.integers(0, 900), st.booleans()), max_size=10)
"""How long the text is at each call, and whether what was remembered is lost before it."""


_FRONTS: dict[str, Front] = {}


def front_of(rules: Policy | None = None, detoxifier: FakeDetoxifier | None = None) -> Front:
    """Return a front that has judged nothing yet."""
    rules = rules or policy()
    front = _FRONTS.get(rules.revision)
    if front is None or detoxifier is not None:
        front = Front(policy=rules, detector=PatientDetector(), detoxifier=detoxifier)
        _FRONTS.setdefault(rules.revision, front)
    front.begin_anew()
    return front


async def relay_all(front: Front, text: str, steps: list[tuple[int, bool]], *, is_last_repeated: bool) -> str:
    """Have a text come as LiteLLM would, and return all that was sent on."""
    relay = Relay(front)
    ends = sorted((min(length, len(text)), is_lost) for length, is_lost in steps)
    if is_last_repeated:
        ends.append((len(text), False))
    for end, is_lost in ends:
        if is_lost:
            await forget(front)
        if text[:end]:
            await relay.round(text[:end])
            assert_judged(front, relay.sent)
    if text:
        await relay.round(text, is_last=True)
        assert_judged(front, relay.sent)
    return relay.sent


async def forget(front: Front) -> None:
    """Lose all that is remembered of calls, as when Redis was started anew."""
    await front.cache.put_many(dict.fromkeys(remembered(front), b"lost"))


def assert_judged(front: Front, sent: str) -> None:
    """Assert that all that was sent lies in passages that the detector has read, and is not harmful."""
    assert "harm=" not in sent
    judged: set[int] = set()
    for passage in {exchange.response for exchange in front.detector.assessed} - {""}:
        start = sent.find(passage)
        while start >= 0:
            judged.update(range(start, start + len(passage)))
            start = sent.find(passage, start + 1)
    # Between what was said and the policy's text stands an empty line, which nobody reads.
    gap = len(sent) - len(f"\n\n{SAFE_TEXT}") if sent.endswith(f"\n\n{SAFE_TEXT}") else len(sent)
    assert judged.union({gap, gap + 1}).issuperset(range(len(sent)))


@pytest.mark.parametrize("rules", [policy(), OMITTING], ids=["complete", "omit"])
@given(text=Texts, steps=Steps, is_last_repeated=st.booleans())
async def test_nothing_is_sent_on_unjudged_whichever_calls_come_and_whatever_is_lost(
    rules: Policy, text: str, steps: list[tuple[int, bool]], is_last_repeated: bool
) -> None:
    front = front_of(rules)
    await relay_all(front, text, steps, is_last_repeated=is_last_repeated)


@pytest.mark.parametrize("rules", [policy(), OMITTING], ids=["complete", "omit"])
@given(text=Texts, steps=Steps)
async def test_a_stream_becomes_what_the_answer_as_a_whole_becomes(
    rules: Policy, text: str, steps: list[tuple[int, bool]]
) -> None:
    told = await ask(front_of(rules), "response", texts=[text])
    whole = told.get("texts", [text])[0]
    front = front_of(rules)
    assert await relay_all(front, text, steps, is_last_repeated=True) == whole


@given(text=Texts, steps=Steps)
async def test_what_is_withheld_ends_the_stream_and_nothing_of_it_is_sent(
    text: str, steps: list[tuple[int, bool]]
) -> None:
    front = front_of(BLOCKING)
    if "harm=" in text:
        with pytest.raises(BlockedError, match="hate"):
            await relay_all(front, text, steps, is_last_repeated=True)
    else:
        assert await relay_all(front, text, steps, is_last_repeated=True) == text


@given(first=Texts, second=Texts, steps=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), max_size=6))
async def test_choices_that_come_at_the_same_time_are_kept_apart(
    first: str, second: str, steps: list[tuple[int, int]]
) -> None:
    front = front_of(OMITTING)
    alone = [
        (await ask(front, "response", call_id=None, texts=[text])).get("texts", [text])[0] for text in (first, second)
    ]
    lengths = zip(sorted(one for one, _ in steps), sorted(two for _, two in steps), strict=True)
    sent = {0: "", 1: ""}
    full = (first, second)
    for ends in [*lengths, (900_000, 900_000), (900_000, 900_000)]:
        # A choice of which nothing has come yet is not there.
        so_far = {index: full[index][:end] for index, end in enumerate(ends) if full[index][:end]}
        deltas = await relay_round(
            front, [*so_far.values()], [sent[index] for index in so_far], is_last=ends == (900_000, 900_000)
        )
        for index, delta in zip(so_far, deltas, strict=True):
            sent[index] += delta
    assert [sent[0], sent[1]] == alone


async def test_only_what_is_new_is_judged() -> None:
    front = front_of()
    relay = Relay(front)
    text = PLAIN * 30
    for end in range(10, len(text), 10):
        await relay.round(text[:end])
    await relay.round(text, is_last=True)
    assert relay.sent == text
    # Each round judges one end that may still change, each sentence is judged once; none is longer than its context.
    assert len(front.detector.assessed) <= len(text) / 10 + 31
    assert max(len(exchange.response) for exchange in front.detector.assessed) < 400 + 2 * len(PLAIN)


async def test_sentences_are_sent_on_as_soon_as_they_are_settled() -> None:
    relay = Relay(front_of())
    await relay.round(PLAIN[:30])
    assert relay.sent == ""
    await relay.round(PLAIN * 2)
    assert relay.sent == PLAIN.rstrip()
    await relay.round(PLAIN * 2, is_last=True)
    assert relay.sent == PLAIN * 2


async def test_a_language_model_is_not_asked_for_a_rewrite_of_each_length_of_a_harmful_sentence() -> None:
    requested: list[RewriteRequest] = []

    def write(request: RewriteRequest) -> str:
        requested.append(request)
        return "Rewritten."

    rules = policy(rewrite_methods={"default": ["generate", "complete"]})
    front = front_of(rules, detoxifier=FakeDetoxifier(write))
    relay = Relay(front)
    text = f"{PLAIN}{HARM} {PLAIN}"
    for end in range(1, len(text)):
        await relay.round(text[:end])
    await relay.round(text, is_last=True)
    assert relay.sent == f"{PLAIN.rstrip()}\n\nRewritten."
    assert len(requested) <= 3


async def test_an_end_that_is_harmful_only_until_more_comes_is_no_reason_to_end_the_stream() -> None:
    relay = Relay(front_of(BLOCKING))
    await relay.round(PLAIN)
    # The fake detector reads a number; more digits make it another one.
    await relay.round(f"{PLAIN}category=hate harm=1")
    await relay.round(f"{PLAIN}category=hate harm=1e-9 and so on")
    await relay.round(f"{PLAIN}category=hate harm=1e-9 and so on", is_last=True)
    assert relay.sent == f"{PLAIN}category=hate harm=1e-9 and so on"


@pytest.mark.parametrize("action", [Action.BLOCK, Action.REVIEW])
async def test_an_end_that_is_withheld_ends_the_stream_when_it_comes_again(action: Action) -> None:
    relay = Relay(front_of(policy(rules=(rule(0.5, action, category="hate"),))))
    await relay.round(PLAIN)
    await relay.round(f"{PLAIN}{HARM}")
    assert relay.sent in {"", PLAIN.rstrip()}
    with pytest.raises(BlockedError):
        await relay.round(f"{PLAIN}{HARM}", is_last=True)


async def test_a_call_of_a_tool_at_the_end_of_a_stream_is_judged_with_its_texts() -> None:
    front = front_of()
    relay = Relay(front)
    await relay.round(PLAIN)
    call: dict[str, Any] = {"type": "function", "function": {"name": "send", "arguments": f'{{"text": "{HARM_ME}"}}'}}
    told = await ask(front, "response", texts=[PLAIN], tool_calls=[call])
    assert told["action"] == "BLOCKED"

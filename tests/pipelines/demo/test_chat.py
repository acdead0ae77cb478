"""A talk with a model behind the guard."""

from collections.abc import AsyncGenerator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.demo.chat import Chat, ChatTurn, Ending
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.errors import ModelUnavailableError, UnansweredError
from protector_models.moderation.fakes import POISON, FakeDetoxifier, FakeHarmDetector, RecordedMetrics
from protector_models.moderation.memory_cache import MemoryVerdictCache
from protector_models.moderation.moderator import Moderator
from protector_models.moderation.verdict import Action
from tests.builders import policy

PLAIN = "This part says how to get home by bus, at night as well. "
HARM = "This part is harm=0.9 category=hate and much too long to be passed over. "


class FakeModel:
    """Says what it was given, in pieces."""

    def __init__(self, text: str, cuts: Sequence[int] = (), *, breaks_off: Exception | None = None) -> None:
        self._text = text
        self._cuts = sorted({min(cut, len(text)) for cut in cuts})
        self._breaks_off = breaks_off
        self.asked: list[ConversationEvent] = []
        self.is_closed = False

    async def stream(self, event: ConversationEvent) -> AsyncGenerator[str, None]:
        """Yield the text, then break off where it is to."""
        self.asked.append(event)
        try:
            for start, end in zip([0, *self._cuts], [*self._cuts, len(self._text)], strict=True):
                yield self._text[start:end]
            if self._breaks_off is not None:
                raise self._breaks_off
        finally:
            self.is_closed = True


def talk_with(model: FakeModel, *, detoxifier: FakeDetoxifier | None = None) -> Chat:
    rules = policy()
    moderator = Moderator(
        policy=rules,
        detector=FakeHarmDetector(),
        cache=MemoryVerdictCache(max_entries=1_000),
        metrics=RecordedMetrics(),
        detoxifier=detoxifier,
    )
    return Chat(model, moderator, rules.for_tenant("default"))


async def say(model: FakeModel) -> tuple[ChatTurn, str]:
    """Return a turn, and what was shown of it."""
    shown: list[str] = []
    turn = await talk_with(model).say("How do I get home?", shown.append)
    return turn, "".join(shown)


parts = st.lists(st.sampled_from([PLAIN, HARM, "Yes! ", "1. First\n", "word " * 90, f"{POISON} "]), max_size=5)


@given(said=parts.map("".join), cuts=st.lists(st.integers(0, 900), max_size=8))
async def test_nothing_harmful_is_shown_however_it_comes(said: str, cuts: list[int]) -> None:
    turn, shown = await say(FakeModel(said, cuts))
    assert shown == turn.delivered
    assert "harm=0.9" not in shown
    assert POISON not in shown
    whole, _ = await say(FakeModel(said))
    # As one that cannot be judged ends a turn where it is met, what goes before it may come out in other steps.
    if POISON not in said:
        assert (turn.delivered, turn.ending) == (whole.delivered, whole.ending)


async def test_what_is_harmless_is_shown_as_it_was_written() -> None:
    turn, shown = await say(FakeModel(PLAIN * 3, [10, 70]))
    assert shown == PLAIN * 3
    assert (turn.ending, turn.findings, turn.harmfulness) == (Ending.WHOLE, (), 0.0)
    assert turn.num_judged > 1


async def test_a_harmful_sentence_ends_the_answer_in_the_policys_text_and_the_writing() -> None:
    model = FakeModel(PLAIN + HARM + PLAIN * 20, range(0, 1_000, 7))
    turn, shown = await say(model)
    assert shown.startswith(PLAIN.strip())
    assert len(shown) < 300
    assert turn.ending is Ending.REPLACED
    [finding] = turn.findings
    assert (finding.action, finding.category, finding.harmfulness) == (Action.REWRITE, "hate", 0.9)
    assert model.is_closed


async def test_the_model_remembers_what_was_delivered_and_not_what_it_wrote() -> None:
    model = FakeModel(PLAIN + HARM)
    talk = talk_with(model)
    turn = await talk.say("How do I get home?", lambda _: None)
    await talk.say("And then?", lambda _: None)
    user, assistant, again = model.asked[1].messages
    assert (user.content, assistant.content, again.content) == ("How do I get home?", turn.delivered, "And then?")


async def test_what_cannot_be_judged_is_not_shown() -> None:
    turn, shown = await say(FakeModel(PLAIN + f"{POISON} is in a part that nobody can judge at all. " + PLAIN, [60]))
    assert (turn.ending, turn.error) == (Ending.NOT_JUDGED, "Poison")
    assert POISON not in shown


@pytest.mark.parametrize("error", [UnansweredError("no"), ModelUnavailableError("away")])
async def test_a_model_that_breaks_off_has_said_so_much(error: Exception) -> None:
    turn, shown = await say(FakeModel(PLAIN + PLAIN + "And then you", breaks_off=error))
    assert (turn.ending, turn.error) == (Ending.UNANSWERED, type(error).__name__)
    assert (PLAIN + PLAIN).startswith(shown)

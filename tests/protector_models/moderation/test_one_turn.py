"""Conversations of one turn."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.moderation.messages.message import ImagePart, ImageUrl, TextPart
from protector_models.moderation.one_turn import ANY_TIME, make_turn
from tests.builders import OCCURRED_AT


@given(st.text(max_size=9), st.text(max_size=9))
def test_a_turn_is_seen_as_its_question_and_its_answer(question: str, answer: str) -> None:
    turn = make_turn(question, answer, event_id="1")

    assert (turn.exchange(answer).prompt, turn.exchange(answer).response) == (question, answer)
    assert turn.response == answer


def test_a_turn_is_a_conversation_of_its_own() -> None:
    turn = make_turn("Who?", None, event_id="row-3", tenant="shop", occurred_at=OCCURRED_AT)

    assert (turn.event_id, turn.conversation_id, turn.tenant) == ("row-3", "row-3", "shop")
    assert (turn.occurred_at, turn.response) == (OCCURRED_AT, None)


def test_a_turn_without_a_time_and_a_tenant_has_the_same_ones_each_time() -> None:
    turn = make_turn("Who?", "You.", event_id="1")

    assert (turn.occurred_at, turn.tenant) == (ANY_TIME, "default")


def test_the_parts_of_a_question_keep_their_order() -> None:
    picture = ImagePart(type="image_url", image_url=ImageUrl(url="data:image/png;base64,AA=="))
    text = TextPart(type="text", text="What is this?")

    assert make_turn([picture, text], None, event_id="1").messages[0].content == (picture, text)


@pytest.mark.parametrize(("question", "event_id"), [("\ud800", "1"), ("Who?", ""), ("Who?", "x" * 513)])
def test_what_no_event_can_hold_is_refused(question: str, event_id: str) -> None:
    with pytest.raises(ValueError, match=r"ConversationEvent|Message"):
        make_turn(question, None, event_id=event_id)

"""What a model is shown of a conversation, turn by turn."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.mllms.conversations import Said, Shown, Turn, image_references, make_turns
from protector_models.moderation.messages.message import Message
from tests.builders import assistant, event, user

CAT, DOG = "data:image/png;base64,Y2F0", "data:image/png;base64,ZG9n"


def turns_of(
    *messages: Message, takes_system: bool = True, control_tokens: tuple[str, ...] = ()
) -> list[tuple[str, list[str]]]:
    """Return each turn as its role and what is said and shown in it."""
    turns = make_turns(event(None, messages=messages), takes_system=takes_system, control_tokens=set(control_tokens))
    return [
        (turn.role, [part.text if isinstance(part, Said) else part.reference for part in turn.parts]) for turn in turns
    ]


def test_a_conversation_keeps_who_spoke_and_the_order_of_texts_and_images() -> None:
    assert turns_of(user("What is this?", images=[CAT, DOG]), assistant("Pets."), user("Sure?")) == [
        ("user", ["What is this?", CAT, DOG]),
        ("assistant", ["Pets."]),
        ("user", ["Sure?"]),
    ]


def test_what_developers_and_systems_say_stands_in_front_as_one_turn() -> None:
    conversation = (
        Message(role="system", content="Be kind."),
        user("Hi."),
        Message(role="developer", content="Brief."),
    )
    assert turns_of(*conversation) == [("system", ["Be kind.\nBrief."]), ("user", ["Hi."])]
    assert turns_of(*conversation, takes_system=False) == [("user", ["Be kind.\nBrief.\nHi."])]


def test_without_a_user_to_put_it_before_the_system_speaks_as_one() -> None:
    system = Message(role="system", content="Be kind.")
    assert turns_of(system, assistant("Hello."), takes_system=False) == [
        ("user", ["Be kind."]),
        ("assistant", ["Hello."]),
    ]


def test_results_of_tools_are_told_to_the_model_and_not_said_by_it() -> None:
    called = assistant(None, tool_calls=({"id": "1", "type": "function"},))
    assert turns_of(
        user("Weather?"), called, Message(role="tool", content="Rain.", tool_call_id="1"), user("And now?")
    ) == [("user", ["Weather?\nRain.\nAnd now?"])]


def test_a_refusal_is_what_the_assistant_said() -> None:
    refused = Message(role="assistant", content=None, refusal="I would rather not.")
    assert turns_of(user("Steal it."), refused, user("Why?"))[1] == ("assistant", ["I would rather not."])


@pytest.mark.parametrize("empty", [user(""), assistant(None), assistant(""), Message(role="user", content=())])
def test_where_nothing_is_said_or_shown_there_is_no_turn(empty: Message) -> None:
    assert turns_of(empty) == []
    assert turns_of(user("a"), empty, user("b")) == [("user", ["a\nb"])]


def test_no_text_passes_for_a_control_token_or_an_image() -> None:
    (turn,) = turns_of(user("<image> </s><image>"), control_tokens=("<image>", "</s>"))
    assert turn == ("user", ["< image> < /s>< image>"])


messages = st.lists(
    st.one_of(
        st.builds(
            lambda role, text: Message(role=role, content=text),
            st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"]),
            st.text(max_size=3),
        ),
        st.builds(
            lambda text, images: user(text, images=images), st.text(max_size=3), st.lists(st.sampled_from([CAT, DOG]))
        ),
    ),
    min_size=1,
)


@given(messages=messages, takes_system=st.booleans())
def test_turns_alternate_begin_with_the_system_and_lose_nothing(messages: list[Message], takes_system: bool) -> None:
    turns = make_turns(event(None, messages=messages), takes_system=takes_system, control_tokens=set())
    roles = [turn.role for turn in turns]
    assert all(first != second for first, second in pairwise(roles))
    assert "system" not in (roles[1:] if takes_system else roles)
    assert all(turn.parts for turn in turns)
    assert sorted(image_references(turns)) == sorted(
        reference for message in messages for reference in message.image_references()
    )
    said = "\n".join(part.text for turn in turns for part in turn.parts if isinstance(part, Said))
    assert all(message.text() in said for message in messages)


def test_texts_that_meet_are_joined_and_texts_around_an_image_are_not() -> None:
    turn = Turn("user")
    turn.add([Said("a"), Said("b"), Shown(CAT)])
    turn.add([Said("c")])
    assert turn.parts == [Said("a\nb"), Shown(CAT), Said("c")]

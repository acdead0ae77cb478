"""What comes out: moderated conversations on the wire."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from protector_models.moderation.stages import StageStatus
from protector_models.moderation.verdict import Action, EvaluationStatus, ModeratedConversation
from tests.builders import OCCURRED_AT, assessment

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
identifiers = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
statuses = st.sampled_from(StageStatus)
assessments = st.builds(
    assessment,
    st.floats(0, 1),
    categories=st.dictionaries(texts, st.floats(0, 1), max_size=3),
    detector=texts,
    characters_unread=st.integers(0, 100),
    images_unread=st.integers(0, 2),
)
moderated = st.builds(
    ModeratedConversation,
    event_id=identifiers,
    conversation_id=identifiers,
    tenant=identifiers,
    occurred_at=st.just(OCCURRED_AT),
    action=st.sampled_from(Action),
    category=st.none() | texts,
    response=st.none() | texts,
    original_response=st.none() | texts,
    assessment=st.none() | assessments,
    rewrite_assessment=st.none() | assessments,
    evaluation_status=st.builds(
        EvaluationStatus, generation=statuses, assessment=statuses, rewrite=statuses, verification=statuses
    ),
    shadow_action=st.none() | st.sampled_from(Action),
    policy_version=texts,
    model_revisions=st.dictionaries(texts, texts, max_size=3),
    cached=st.booleans(),
)


def _moderated() -> ModeratedConversation:
    return ModeratedConversation(
        event_id="event-1",
        conversation_id="conversation-1",
        tenant="default",
        occurred_at=OCCURRED_AT,
        action=Action.ALLOW,
        category=None,
        response="Take the bus.",
        assessment=assessment(),
        evaluation_status=EvaluationStatus(assessment=StageStatus.COMPLETE),
        policy_version="policy-1",
        model_revisions={"detector": "detector@1"},
        cached=False,
    )


@given(moderated)
def test_decoding_what_was_encoded_gives_the_moderated_conversation(drawn: ModeratedConversation) -> None:
    assert ModeratedConversation.model_validate_json(drawn.model_dump_json()) == drawn


@given(moderated)
def test_encoding_twice_gives_equal_bytes(drawn: ModeratedConversation) -> None:
    encoded = drawn.model_dump_json()
    assert ModeratedConversation.model_validate_json(encoded).model_dump_json() == encoded


def test_the_record_says_its_version_and_every_field_of_the_wire_format() -> None:
    assert set(_moderated().model_dump()) == {
        "schema_version", "event_id", "conversation_id", "tenant", "occurred_at", "action", "category", "response",
        "original_response", "assessment", "rewrite_assessment", "rewrite_method",
            "rewrite_refused_reason", "images", "evaluation_status", "shadow_action",
        "policy_version", "model_revisions", "cached",
    }  # fmt: skip
    assert _moderated().schema_version == 1


@pytest.mark.parametrize("version", ["2", "true", "1.0", '"1"', "null"])
def test_a_moderated_conversation_of_another_version_is_refused(version: str) -> None:
    encoded = _moderated().model_dump_json()
    assert '"schema_version":1,' in encoded
    with pytest.raises(ValidationError):
        ModeratedConversation.model_validate_json(
            encoded.replace('"schema_version":1,', f'"schema_version":{version},')
        )

"""Equal fingerprints mean that the models see the same, and nothing else."""

from typing import Literal

from hypothesis import example, given
from hypothesis import strategies as st

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fingerprint import assessment_key, exchange_fingerprint, image_key, rewrite_key
from protector_models.moderation.messages.message import UnreadKind
from protector_models.moderation.ports import RewriteRequest, Span
from protector_models.moderation.verdict import RewriteMethod
from tests.builders import exchange, unread, unread_part

# Few characters, among them those that keys and digests are made of: then parts often move between fields.
fragments = st.text("a1:,\x00é", max_size=4)
images = fragments | st.builds(unread, fragments)
parts = st.builds(unread_part, st.sampled_from(UnreadKind), position=st.integers(0, 11))
exchanges = st.builds(
    exchange,
    fragments,
    prompt=fragments,
    images=st.lists(images, max_size=3),
    unread_parts=st.lists(parts, max_size=2),
)
categories = st.none() | fragments
responses = st.text("ab", min_size=4, max_size=4)
spans = st.sampled_from(
    [(), (Span(start=0, end=1),), (Span(start=0, end=2),), (Span(start=0, end=1), Span(start=1, end=2))]
)
requests = st.builds(
    RewriteRequest,
    exchange=st.builds(exchange, responses, prompt=fragments),
    method=st.sampled_from([RewriteMethod.EDIT, RewriteMethod.GENERATE]),
    spans=spans,
    category=categories,
    attempt=st.integers(0, 12),
)


def _request(
    *,
    method: Literal[RewriteMethod.EDIT, RewriteMethod.GENERATE] = RewriteMethod.GENERATE,
    category: str | None = None,
    attempt: int = 0,
) -> RewriteRequest:
    return RewriteRequest(exchange=exchange(), method=method, category=category, attempt=attempt)


def test_the_fingerprint_is_the_same_on_every_machine() -> None:
    # SHA-256 of "1:a1:b6:text:c8:unread:d"; a change of this value empties every cache.
    assert exchange_fingerprint(exchange("b", prompt="a", images=["c", unread("d")])).startswith("34b80fbbe742e125")


@given(exchanges, exchanges)
@example(exchange("", prompt="ab"), exchange("b", prompt="a"))
@example(exchange("a", prompt="", images=["b"]), exchange("a", prompt="", images=["", "b"]))
@example(exchange("a", prompt="", images=["b", "c"]), exchange("a", prompt="", images=["c", "b"]))
@example(exchange("a", images=["c"]), exchange("a", images=[unread("c")]))
@example(exchange("11:a", prompt=""), exchange("1", prompt="1:a"))
@example(exchange(images=["part:0:audio"]), exchange(unread_parts=[unread_part()]))
@example(exchange(unread_parts=[unread_part()]), exchange(unread_parts=[unread_part(position=1)]))
def test_exchanges_share_a_fingerprint_only_if_they_are_equal(one: Exchange, other: Exchange) -> None:
    assert (exchange_fingerprint(one) == exchange_fingerprint(other)) == (one == other)


@given(fragments, requests, fragments, requests)
@example("d", _request(category=None), "d", _request(category=""))
@example("d", _request(category="a", attempt=1), "d", _request(category="a1"))
@example("d", _request(method=RewriteMethod.EDIT), "d", _request(method=RewriteMethod.GENERATE))
def test_rewrites_share_a_key_only_if_their_requests_are_equal(
    one_model: str, one: RewriteRequest, other_model: str, other: RewriteRequest
) -> None:
    def key(model: str, request: RewriteRequest) -> str:
        return rewrite_key(model, request, exchange_fingerprint(request.exchange))

    assert (key(one_model, one) == key(other_model, other)) == ((one_model, one) == (other_model, other))


@given(fragments, fragments)
def test_a_key_depends_on_the_revision_of_the_model(one: str, other: str) -> None:
    fingerprint = exchange_fingerprint(exchange())
    assert (assessment_key(one, fingerprint) == assessment_key(other, fingerprint)) == (one == other)


def test_outputs_of_different_kinds_never_share_a_key() -> None:
    fingerprint = exchange_fingerprint(exchange())
    rewrite = rewrite_key("model@1", _request(), fingerprint)
    keys = {rewrite, assessment_key("model@1", fingerprint), image_key("model@1", fingerprint)}
    assert len(keys) == 3

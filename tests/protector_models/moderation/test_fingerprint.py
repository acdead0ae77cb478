"""Equal fingerprints mean that the models see the same, and nothing else."""

from hypothesis import example, given
from hypothesis import strategies as st

from protector_models.moderation.conversation import Exchange
from protector_models.moderation.fingerprint import assessment_key, exchange_fingerprint, rewrite_key
from tests.builders import exchange

# Few characters, among them those that keys and digests are made of: then parts often move between fields.
fragments = st.text("a1:,\x00é", max_size=4)
exchanges = st.builds(exchange, fragments, prompt=fragments, images=st.lists(fragments, max_size=3))
categories = st.none() | fragments
requests = st.tuples(fragments, fragments, categories, st.integers(0, 12), fragments)


def test_the_fingerprint_is_the_same_on_every_machine() -> None:
    assert exchange_fingerprint(exchange("b", prompt="a", images=["c"])) == exchange_fingerprint(
        Exchange(prompt="a", images=("c",), response="b")
    )
    # SHA-256 of "1:a1:b1:c"; a change of this value empties every cache.
    assert exchange_fingerprint(exchange("b", prompt="a", images=["c"])).startswith("321cf3124838eafc")


@given(exchanges, exchanges)
@example(exchange("", prompt="ab"), exchange("b", prompt="a"))
@example(exchange("a", prompt="", images=["b"]), exchange("a", prompt="", images=["", "b"]))
@example(exchange("a", prompt="", images=["b", "c"]), exchange("a", prompt="", images=["c", "b"]))
@example(exchange("11:a", prompt=""), exchange("1", prompt="1:a"))
def test_exchanges_share_a_fingerprint_only_if_they_are_equal(one: Exchange, other: Exchange) -> None:
    assert (exchange_fingerprint(one) == exchange_fingerprint(other)) == (one == other)


@given(requests, requests)
@example(("d", "f", None, 0, "text"), ("d", "f", "", 0, "text"))
@example(("d", "f", "a", 1, "text"), ("d", "f", "a:1", 0, "text"))
@example(("d", "f", "a", 0, "btext"), ("d", "f", "ab", 0, "text"))
def test_rewrites_share_a_key_only_if_their_requests_are_equal(
    one: tuple[str, str, str | None, int, str], other: tuple[str, str, str | None, int, str]
) -> None:
    def key(request: tuple[str, str, str | None, int, str]) -> str:
        detoxifier, prompt, category, attempt, safe_completion = request
        fingerprint = exchange_fingerprint(exchange(prompt=prompt))
        return rewrite_key(detoxifier, fingerprint, category=category, attempt=attempt, safe_completion=safe_completion)

    assert (key(one) == key(other)) == (one == other)


@given(fragments, fragments)
def test_a_key_depends_on_the_revision_of_the_model(one: str, other: str) -> None:
    fingerprint = exchange_fingerprint(exchange())
    assert (assessment_key(one, fingerprint) == assessment_key(other, fingerprint)) == (one == other)


def test_assessments_and_rewrites_never_share_a_key() -> None:
    fingerprint = exchange_fingerprint(exchange())
    rewrite = rewrite_key("model@1", fingerprint, category=None, attempt=0, safe_completion="text")
    assert rewrite != assessment_key("model@1", fingerprint)

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protector_models.detoxification.tagged_words import (
    DELETE,
    KEEP,
    append_tag,
    apply_tags,
    plain_form,
    replace_tag,
    split_words,
)
from protector_models.training.detoxification.edit_alignment import WeightedRewrite, share_tags, tag_words

pytestmark = pytest.mark.training

WORDS = st.lists(
    st.sampled_from(["you", "are", "such", "a", "fool", "idiot", "person", "not", "ok"]), min_size=1, max_size=8
)


@given(WORDS, WORDS)
def test_the_tags_of_a_pair_make_its_rewrite(source: list[str], rewrite: list[str]) -> None:
    before, after = " ".join(source), " ".join(rewrite)
    edited = apply_tags(before, split_words(before), tag_words(before, after))
    # Articles are made to agree with what follows them, whatever the rewrite says.
    assert plain_form(edited).replace("an", "a") == plain_form(after).replace("an", "a")


@given(WORDS)
def test_equal_sentences_are_kept_word_for_word(source: list[str]) -> None:
    assert set(tag_words(" ".join(source), " ".join(source))) == {KEEP}


@pytest.mark.parametrize(
    ("source", "rewrite", "tags"),
    [
        ("you fucking idiot", "you person", [KEEP, DELETE, replace_tag(["person"])]),
        ("you are smart", "You are not smart", [KEEP, append_tag(["not"]), KEEP]),
        ("the fuck is that", "what is that", [replace_tag(["what"]), DELETE, KEEP, KEEP]),
        ("that is it .", "that is it", [KEEP, KEEP, KEEP, KEEP]),
        ("that is it", "that is it .", [KEEP, KEEP, KEEP]),
        ("go away", "please go away", [replace_tag(["please", "go"]), KEEP]),
        ("don 't go", "Don’t go", [KEEP, KEEP]),
    ],
)
def test_words_are_tagged_as_a_reader_would(source: str, rewrite: str, tags: list[str]) -> None:
    assert tag_words(source, rewrite) == tags


def test_shares_count_rewrites_by_weight_and_sum_to_one() -> None:
    rewrites = [WeightedRewrite(text="you person here", weight=1.0), WeightedRewrite(text="you fool here", weight=1.0)]
    shares = share_tags("you fool here", rewrites)
    assert all(sum(share.values()) == pytest.approx(1.0) for share in shares)
    # The one that leaves more as it was counts more.
    assert 0.5 < shares[1][KEEP] < 1.0
    assert shares[1].keys() == {KEEP, replace_tag(["person"])}


def test_a_paraphrase_hardly_counts() -> None:
    rewrites = [
        WeightedRewrite(text="you fool here", weight=1.0),
        WeightedRewrite(text="no words in common", weight=1.0),
    ]
    assert all(share[KEEP] > 0.95 for share in share_tags("you fool here", rewrites))


def test_a_sentence_without_rewrites_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one rewrite"):
        share_tags("you fool", [])

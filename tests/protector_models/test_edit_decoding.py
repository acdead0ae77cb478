from collections.abc import Mapping

import numpy as np
import pytest

from protector_models.edit_decoding import DecodingPlan, SentenceScores, edit_sentence
from protector_models.edit_words import DELETE, replace_tag, split_words

TAGS = (DELETE, replace_tag(["person"]))
PLAN = DecodingPlan()


class ScriptedScorer:
    """Takes words for as sure to be edited as the script says; a sentence is as toxic as the surest word left."""

    def __init__(self, edited: Mapping[str, float], replaced: frozenset[str] = frozenset()) -> None:
        self.edited = edited
        self.replaced = replaced
        self.scored: list[str] = []

    def score(self, sentence: str) -> SentenceScores:
        self.scored.append(sentence)
        words = split_words(sentence)
        texts = [sentence[word.start : word.end] for word in words]
        edited = [self.edited.get(text, 0.0) for text in texts]
        logits = [[0.0, 5.0] if text in self.replaced else [5.0, 0.0] for text in texts]
        return SentenceScores(
            words=tuple(words),
            edited_W=np.array(edited),
            tag_logits_WK=np.array(logits, dtype=np.float32).reshape(-1, 2),
            toxic=max(edited, default=0.0),
            fluent=1.0,
        )


def test_a_sentence_that_is_not_toxic_is_left_alone_though_a_word_looks_like_an_edit() -> None:
    scorer = ScriptedScorer({"nut": 0.4})
    assert edit_sentence("a nut tree", scorer, TAGS, PLAN) == "a nut tree"
    assert scorer.scored == ["a nut tree"]


def test_the_surest_edit_alone_is_made_where_it_is_enough() -> None:
    scorer = ScriptedScorer({"damn": 0.95, "silly": 0.45})
    assert edit_sentence("a damn silly cat", scorer, TAGS, PLAN) == "a silly cat"


def test_less_sure_edits_follow_while_the_sentence_is_toxic() -> None:
    scorer = ScriptedScorer({"damn": 0.95, "moron": 0.6}, replaced=frozenset({"moron"}))
    assert edit_sentence("a damn moron said so", scorer, TAGS, PLAN) == "a person said so"
    assert scorer.scored == ["a damn moron said so", "a moron said so", "a person said so"]


def test_where_nothing_helps_the_least_toxic_candidate_is_taken() -> None:
    class Stubborn(ScriptedScorer):
        def score(self, sentence: str) -> SentenceScores:
            scores = super().score(sentence)
            return SentenceScores(
                words=scores.words,
                edited_W=scores.edited_W,
                tag_logits_WK=scores.tag_logits_WK,
                toxic=0.6 + 0.01 * len(sentence),
                fluent=1.0,
            )

    assert edit_sentence("damn you moron", Stubborn({"damn": 0.95, "moron": 0.2}), TAGS, PLAN) == "you"


def test_nothing_is_left_of_a_sentence_that_is_all_insult() -> None:
    assert edit_sentence("damn", ScriptedScorer({"damn": 0.95}), TAGS, PLAN) == ""


@pytest.mark.parametrize("sentence", ["", "   ", "😀😀", "…", "| a | b |"])
def test_what_holds_no_words_to_edit_comes_back_as_it_was(sentence: str) -> None:
    assert edit_sentence(sentence, ScriptedScorer({}), TAGS, PLAN) == sentence

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from protector_models.detoxification.edit_decoding import DecodingPlan, SentenceScores, edit_sentence
from protector_models.detoxification.tagged_words import DELETE, replace_tag, split_words

TAGS = (DELETE, replace_tag(["person"]))
PLAN = DecodingPlan(kept_weight=1.5, unlikely_weight=0.3)


class ScriptedScorer:
    """Takes words for as sure to be edited as the script says; a sentence is as toxic as the surest word left."""

    def __init__(
        self,
        edited: Mapping[str, float],
        replaced: frozenset[str] = frozenset(),
        *,
        at_least: float = 0.0,
        broken: frozenset[str] = frozenset(),
    ) -> None:
        self.edited = edited
        self.replaced = replaced
        self.at_least = at_least
        self.broken = broken
        self.scored: list[str] = []

    def score(self, sentence: str) -> SentenceScores:
        self.scored.append(sentence)
        words = split_words(sentence)
        texts = [sentence[word.start : word.end] for word in words]
        edited = [self.edited.get(text, 0.0) for text in texts]
        logits = [[0.0, 2.0] if text in self.replaced else [2.0, 0.0] for text in texts]
        return SentenceScores(
            words=tuple(words),
            edited_W=np.array(edited),
            tag_logits_WK=np.array(logits, dtype=np.float32).reshape(-1, 2),
            toxic=max([self.at_least, *edited]),
            fluent=0.01 if sentence in self.broken else 0.9,
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
    assert edit_sentence("a damn moron says so", scorer, TAGS, PLAN) == "a person says so"
    assert scorer.scored == ["a damn moron says so", "a moron says so", "a person says so"]


def test_an_edit_that_costs_more_than_it_gains_is_not_made() -> None:
    """The doubtful word is most of the sentence, and without it the sentence is hardly less toxic."""
    scorer = ScriptedScorer({"damn": 0.95, "preposterousness": 0.2}, at_least=0.6)
    assert edit_sentence("damn preposterousness again", scorer, TAGS, PLAN) == "preposterousness again"


def test_another_word_is_tried_where_the_first_choice_does_not_read_well() -> None:
    scorer = ScriptedScorer({"moron": 0.95}, broken=frozenset({"he is a"}))
    assert edit_sentence("he is a moron", scorer, TAGS, PLAN) == "he is a person"
    assert edit_sentence("he is a moron", scorer, TAGS, PLAN.model_copy(update={"num_repairs": 0})) is None


def test_no_candidate_is_read_more_often_than_the_plan_allows() -> None:
    words = [f"word{number}" for number in range(40)]
    scorer = ScriptedScorer({word: 0.1 + number * 0.022 for number, word in enumerate(words)}, at_least=0.6)
    edit_sentence(" ".join(words), scorer, TAGS, PLAN)
    assert len(scorer.scored) <= 1 + len(PLAN.steps) + PLAN.num_repairs


def test_nothing_is_left_of_a_sentence_that_is_all_insult() -> None:
    assert edit_sentence("damn", ScriptedScorer({"damn": 0.99}), TAGS, PLAN) == ""


@pytest.mark.parametrize("sentence", ["", "   ", "😀😀", "…", "| a | b |"])
def test_what_holds_no_words_to_edit_comes_back_as_it_was(sentence: str) -> None:
    assert edit_sentence(sentence, ScriptedScorer({}), TAGS, PLAN) == sentence


def test_praise_never_takes_an_insults_place() -> None:
    tags = (DELETE, replace_tag(["good"]))
    scorer = ScriptedScorer({"moron": 0.95}, replaced=frozenset({"moron"}), broken=frozenset({"he is a"}))
    assert edit_sentence("he is a moron", scorer, tags, PLAN) is None
    assert edit_sentence("he came, the moron", scorer, tags, PLAN) is None


def test_the_same_word_does_not_take_two_places_side_by_side() -> None:
    scorer = ScriptedScorer({"feckless": 0.95, "fools": 0.95}, replaced=frozenset({"feckless", "fools"}))
    assert edit_sentence("these feckless fools again", scorer, TAGS, PLAN) == "these person again"


def test_what_most_people_replace_is_not_left_out() -> None:
    """Leaving out is the likeliest single edit, and less likely than the others together."""
    tags = (DELETE, replace_tag(["person"]), replace_tag(["guy"]))

    class Divided(ScriptedScorer):
        def score(self, sentence: str) -> SentenceScores:
            scores = super().score(sentence)
            logits = np.tile(np.array([[1.4, 0.5, 0.4]], dtype=np.float32), (len(scores.words), 1))
            return replace(scores, tag_logits_WK=logits)

    assert edit_sentence("some moron came", Divided({"moron": 0.95}), tags, PLAN) == "some came"
    cautious = PLAN.model_copy(update={"deletion_from": 0.6})
    assert edit_sentence("some moron came", Divided({"moron": 0.95}), tags, cautious) == "some person came"

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from protector_models.detoxification.tagged_words import DELETE, KEEP, replace_tag
from protector_models.records.labelled_records import RecordError
from protector_models.training.detector.detector_recipe import load_training_tokenizer
from protector_models.training.detoxification.careful_rows import RewrittenSentence
from protector_models.training.detoxification.edit_alignment import WeightedRewrite
from protector_models.training.detoxification.edit_batches import EncodedEdits, EpochDraw, draw_epoch, encode_edits
from protector_models.training.detoxification.edit_corruption import (
    JudgedSentence,
    break_sentence,
    edit_in_part,
    edit_wrongly,
)
from protector_models.training.detoxification.edit_examples import EditExamples, load_edit_examples
from protector_models.training.detoxification.edit_network import EditNetwork
from protector_models.training.detoxification.edit_packaging import package_edit_model
from protector_models.training.detoxification.edit_recipe import EditRecipe, train_edit_network
from protector_models.training.resumable import TrainingProgress

pytestmark = pytest.mark.training

RECIPE = EditRecipe(
    num_steps=6,
    batch_size=4,
    checkpoint_every=2,
    num_neutral=4,
    num_safe=4,
    num_judged=2,
    num_spoilt=6,
    num_kept=2,
    innocent_repeats=1,
    careful_repeats=1,
)
FAST = replace(RECIPE, num_steps=120, batch_size=16, encoder_lr=1e-2, head_lr=3e-2)
DRAW = EpochDraw(
    num_neutral=4, num_safe=4, num_judged=2, num_spoilt=6, num_kept=2, innocent_repeats=2, careful_repeats=3
)


def _sentence(source: str, *rewrites: str) -> RewrittenSentence:
    weighted = tuple(WeightedRewrite(text=text, weight=1.0) for text in rewrites)
    return RewrittenSentence(source=source, rewrites=weighted, human_rewrites=rewrites)


@pytest.fixture
def examples() -> EditExamples:
    pairs = [_sentence(f"this damn idiot has {i} cats", f"this person has {i} cats") for i in range(16)]
    return EditExamples(
        training=pairs,
        held_out=pairs[:4],
        neutral=[pair.human_rewrites[0] for pair in pairs],
        safe=[f"a kind neighbour bakes {i} loaves" for i in range(16)],
        held_out_safe=["the sun shines today"],
        judged=[JudgedSentence(text="what a damn day", toxic=1.0, fluent=None)] * 4,
        innocent=["the dam holds the river"],
        held_out_innocent=["the dam holds the lake"],
        careful=[_sentence("this damn idiot has a dog", "this person has a dog")],
        held_out_careful=[],
        kept=["three kind people met"],
        held_out_kept=["the moon shines tonight"],
    )


@pytest.fixture
def edits(examples: EditExamples, tiny_encoder: Path) -> EncodedEdits:
    return encode_edits(examples, load_training_tokenizer(tiny_encoder), min_tag_weight=2.0)


class StoppedError(Exception):
    """Stands for a run that is stopped from outside."""


def _ignore(_: TrainingProgress) -> None:
    return


def _train(
    edits: EncodedEdits,
    encoder: Path,
    out: Path,
    recipe: EditRecipe = RECIPE,
    report: Callable[[TrainingProgress], None] = _ignore,
) -> EditNetwork:
    return train_edit_network(
        edits,
        encoder_directory=encoder,
        start_directory=None,
        checkpoint_directory=out,
        recipe=recipe,
        report=report,
    )


def test_tags_that_enough_rewrites_ask_for_are_learned_the_commonest_first(edits: EncodedEdits) -> None:
    assert edits.tag_names == (DELETE, replace_tag(["person"]))


def test_every_pass_holds_all_toxic_sentences_and_what_was_asked_for_of_the_others(edits: EncodedEdits) -> None:
    batches = list(draw_epoch(edits, DRAW, batch_size=4, rng=random.Random(1)))
    toxic = torch.cat([batch.toxic_B for batch in batches])
    num_whole = 16 + 4 + 4 + 2 + 2 + 2 * 1 + 3 * 1
    assert num_whole <= len(toxic) <= num_whole + 6
    # A word begins at a real token, and nothing else is edited.
    for batch in batches:
        assert bool((batch.mask_BT[batch.words_BT > 0] == 1).all())
        assert bool((batch.edited_BT[batch.words_BT == 0] == 0).all())


def test_the_trained_model_edits_what_people_edited_and_nothing_else(
    examples: EditExamples, edits: EncodedEdits, tiny_encoder: Path, tmp_path: Path
) -> None:
    network = _train(edits, tiny_encoder, tmp_path / "checkpoint", FAST)
    card = package_edit_model(
        network,
        edits.tag_names,
        examples,
        encoder_directory=tiny_encoder,
        directory=tmp_path,
        recipe=FAST,
        num_threads=1,
        report_texts=lambda _: None,
    )
    assert card.validation["toxic_edited"] == 1.0
    assert card.validation["safe_changed"] == 0.0
    assert card.validation["chrf"] == pytest.approx(1.0, abs=0.05)


def test_an_interrupted_run_goes_on_to_the_same_weights(
    edits: EncodedEdits, tiny_encoder: Path, tmp_path: Path
) -> None:
    whole = _train(edits, tiny_encoder, tmp_path / "whole")

    def stop(progress: TrainingProgress) -> None:
        if progress.step == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        _train(edits, tiny_encoder, tmp_path / "cut", report=stop)
    resumed = _train(edits, tiny_encoder, tmp_path / "cut")
    for (name, ours), theirs in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_checkpoint_of_another_recipe_is_refused(edits: EncodedEdits, tiny_encoder: Path, tmp_path: Path) -> None:
    _train(edits, tiny_encoder, tmp_path)
    with pytest.raises(ValueError, match="differs in seed"):
        _train(edits, tiny_encoder, tmp_path, replace(RECIPE, seed=2))


def test_a_half_edited_sentence_is_as_toxic_as_what_is_left() -> None:
    shares = [{KEEP: 1.0}, {DELETE: 1.0}, {KEEP: 0.2, DELETE: 0.8}]
    found = {edit_in_part("you damn fool", shares, random.Random(seed)) for seed in range(40)}
    assert {(judged.text, judged.toxic) for judged in found} == {
        ("you damn fool", 1.0),
        ("you fool", 0.8),
        ("you damn", 1.0),
        ("you", 0.0),
    }


def test_a_wrongly_edited_sentence_is_not_what_anybody_wrote() -> None:
    shares = [{KEEP: 1.0}, {replace_tag(["person"]): 1.0}]
    tags = [DELETE, replace_tag(["person"]), replace_tag(["thing"]), replace_tag(["care"])]
    found = {edit_wrongly("you fool", shares, tags, random.Random(seed)).text for seed in range(40)}
    assert found == {"you", "you thing", "you care"}


def test_breaking_takes_words_out_of_a_sentence_that_has_enough() -> None:
    rng = random.Random(0)
    broken = break_sentence("one two three four five", rng)
    assert broken.fluent == 0.0
    assert len(broken.text.split()) < 5
    assert break_sentence("go on", rng) == JudgedSentence(text="go on", toxic=0.0, fluent=1.0)


def test_evaluation_data_is_refused(tmp_path: Path) -> None:
    directory = tmp_path / "eval" / "paradetox"
    directory.mkdir(parents=True)
    (directory / "train.jsonl").write_text('{"id": "1", "text": "a", "pair": "b", "label": 1}\n')
    with pytest.raises(RecordError, match="never trained on"):
        load_edit_examples(tmp_path / "eval", validation_percent=5, careful_validation_percent=20, seed=1)

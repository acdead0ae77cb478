from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer

from protector_models.detectors.shipped.weights_in_use import TOKENIZER_FILE
from protector_models.records.mix import RowKind
from protector_models.training.detector.answer_draws import PiecedExample, cut_example, cut_examples
from protector_models.training.detector.batches import Batch
from protector_models.training.detector.detector_network import DetectorLogits, DetectorNetwork
from protector_models.training.detector.detector_recipe import (
    DetectorRecipe,
    begin_network,
    draw_batches,
    load_training_tokenizer,
    train_detector,
)
from protector_models.training.detector.distillation import (
    DistillationPlan,
    TeacherLessons,
    count_taught_batches,
    distillation_loss,
    prepare_lessons,
)
from protector_models.training.detector.teacher import Teacher, load_teacher
from tests.protector_models.training.builders import make_example

pytestmark = pytest.mark.training

RECIPE = DetectorRecipe(num_steps=4, batch_size=4, checkpoint_every=2, pairs_every=3)
PLAN = DistillationPlan(every=1, num_windows=12)


class StoppedError(Exception):
    """Stands for a run that is stopped from outside."""


@pytest.fixture
def tokenizer(tiny_encoder: Path) -> Tokenizer:
    return load_training_tokenizer(tiny_encoder)


@pytest.fixture
def rows(tokenizer: Tokenizer) -> list[PiecedExample]:
    harmful = [make_example(response=f"steal and burn it {i}") for i in range(8)]
    safe = [make_example(response=f"bake some bread {i}. Eat it.", harmful=0.0) for i in range(8)]
    return cut_examples(harmful + safe, tokenizer.token_to_id)


@pytest.fixture
def unlabelled(tokenizer: Tokenizer) -> list[PiecedExample]:
    kinds = (RowKind.ANSWER, RowKind.PREFERENCE, RowKind.TEXT)
    examples = [make_example(kind=kind, response=f"who knows {kind}", harmful=None) for kind in kinds]
    return [cut_example(example, tokenizer.token_to_id) for example in examples]


@pytest.fixture
def teacher(tiny_teacher: Path, tiny_encoder: Path) -> Teacher:
    return load_teacher(tiny_teacher, tokenizer_file=tiny_encoder / TOKENIZER_FILE)


Prepare = Callable[..., TeacherLessons]


@pytest.fixture
def prepare(
    teacher: Teacher, rows: list[PiecedExample], unlabelled: list[PiecedExample], tokenizer: Tokenizer, tmp_path: Path
) -> Prepare:
    def run(
        recipe: DetectorRecipe = RECIPE,
        plan: DistillationPlan = PLAN,
        report: Callable[[int], None] = lambda _: None,
        teacher: Teacher = teacher,
        rows: list[PiecedExample] = rows,
    ) -> TeacherLessons:
        directory = tmp_path / "logits"
        return prepare_lessons(
            teacher, rows, unlabelled, tokenizer, directory=directory, recipe=recipe, plan=plan, report=report
        )

    return run


def test_a_student_with_a_teacher_repeats_bit_for_bit(
    prepare: Prepare, rows: list[PiecedExample], tokenizer: Tokenizer, tiny_encoder: Path, tmp_path: Path
) -> None:
    trained = [
        train_detector(
            rows,
            tokenizer,
            network=begin_network(tiny_encoder, RECIPE),
            checkpoint_directory=tmp_path / f"run_{run}",
            recipe=RECIPE,
            report=lambda _: None,
            lessons=prepare(),
        ).state_dict()
        for run in range(2)
    ]
    assert all(torch.equal(trained[0][name], trained[1][name]) for name in trained[0])


def test_a_run_with_a_teacher_does_not_go_on_from_one_without(
    prepare: Prepare, rows: list[PiecedExample], tokenizer: Tokenizer, tiny_encoder: Path, tmp_path: Path
) -> None:
    def train(lessons: TeacherLessons | None) -> None:
        train_detector(
            rows,
            tokenizer,
            network=begin_network(tiny_encoder, RECIPE),
            checkpoint_directory=tmp_path,
            recipe=RECIPE,
            report=lambda _: None,
            lessons=lessons,
        )

    train(None)
    with pytest.raises(ValueError, match=r"differs in .*teacher"):
        train(prepare())


def test_the_students_logits_are_pulled_to_the_teachers(
    prepare: Prepare, rows: list[PiecedExample], tokenizer: Tokenizer, tiny_encoder: Path, tmp_path: Path
) -> None:
    recipe = replace(RECIPE, num_steps=16, encoder_lr=1e-3, head_lr=1e-2)
    lessons = prepare(recipe, DistillationPlan(every=1, label_weight=0.0))
    before = DetectorNetwork.from_pretrained(tiny_encoder).eval()
    after = train_detector(
        rows,
        tokenizer,
        network=begin_network(tiny_encoder, RECIPE),
        checkpoint_directory=tmp_path,
        recipe=recipe,
        report=lambda _: None,
        lessons=lessons,
    )
    batch = next(draw_batches(rows, tokenizer, recipe, unlabelled=lessons.unlabelled))
    taught = lessons.logits.find(1)
    assert taught is not None
    with torch.no_grad():
        losses = [distillation_loss(network(batch), taught, batch, recipe) for network in (before, after)]
        distances = [(network(batch).whole_BK - taught.whole_BK)[:, 0].abs().mean() for network in (before, after)]
    assert losses[1] < losses[0]
    assert distances[1] < distances[0]


def test_the_teachers_own_logits_cost_least(teacher: Teacher, rows: list[PiecedExample], tokenizer: Tokenizer) -> None:
    batch = next(draw_batches(rows, tokenizer, RECIPE))
    with torch.no_grad():
        taught = teacher.network(batch)
        own = distillation_loss(taught, taught, batch, RECIPE)
        for shift in (-0.5, 0.5):
            shifted = DetectorLogits(pieces_SK=taught.pieces_SK + shift, whole_BK=taught.whole_BK + shift)
            assert distillation_loss(shifted, taught, batch, RECIPE) > own


def test_labels_count_in_full_where_the_teacher_has_not_read(
    prepare: Prepare, teacher: Teacher, rows: list[PiecedExample], tokenizer: Tokenizer
) -> None:
    lessons = prepare()
    batch = next(draw_batches(rows, tokenizer, RECIPE, unlabelled=lessons.unlabelled))
    with torch.no_grad():
        logits = teacher.network(batch)
        loss = torch.tensor(2.0)
        assert lessons.join(loss, logits, batch, step=4) is loss
        expected = 0.5 * loss + distillation_loss(logits, logits, batch, RECIPE)
        # The same windows in the same batch: the stored logits are the same up to the order of fp32 sums.
        torch.testing.assert_close(lessons.join(loss, logits, batch, step=1), expected, rtol=1e-5, atol=1e-5)


def test_the_teacher_reads_whole_batches_and_no_more_than_the_run() -> None:
    recipe = DetectorRecipe(num_steps=10, batch_size=4)
    assert count_taught_batches(recipe, DistillationPlan(every=1, num_windows=9)) == 3
    assert count_taught_batches(recipe, DistillationPlan(every=1, num_windows=1_000)) == 10
    assert count_taught_batches(recipe, DistillationPlan(every=3, num_windows=1_000)) == 4


def test_of_every_few_batches_the_teacher_reads_the_first(
    prepare: Prepare, teacher: Teacher, rows: list[PiecedExample], tokenizer: Tokenizer
) -> None:
    lessons = prepare(replace(RECIPE, num_steps=8), DistillationPlan(every=3))
    assert [step for step in range(1, 12) if lessons.logits.find(step) is not None] == [1, 4, 7]
    fourth = list(islice(draw_batches(rows, tokenizer, RECIPE, unlabelled=lessons.unlabelled), 4))[3]
    found = lessons.logits.find(4)
    assert found is not None
    with torch.no_grad():
        torch.testing.assert_close(found.whole_BK, teacher.network(fourth).whole_BK, rtol=1e-5, atol=1e-5)


def test_unlabelled_rows_are_drawn_and_have_no_labels(
    rows: list[PiecedExample], unlabelled: list[PiecedExample], tokenizer: Tokenizer
) -> None:
    many = unlabelled * 20
    batches = list(islice(draw_batches(rows, tokenizer, RECIPE, unlabelled=many), 18))
    singles = [batch for batch in batches if not batch.is_paired]
    unknown = [torch.isnan(batch.answer_labels_B) & torch.isnan(batch.alone_labels_B) for batch in singles]
    assert sum(int(rows_B.sum()) for rows_B in unknown) > sum(len(rows_B) for rows_B in unknown) / 2


def test_an_interrupted_run_of_the_teacher_goes_on(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protector_models.training.detector.teacher_logits.BATCHES_PER_SHARD", 1)
    done: list[int] = []

    def stop(num_batches: int) -> None:
        done.append(num_batches)
        if len(done) == 3:
            raise StoppedError

    with pytest.raises(StoppedError):
        prepare(report=stop)
    scored = _count_calls(monkeypatch)
    lessons = prepare()
    # Two shards were whole when it stopped; the third was not written.
    assert len(scored) == 1
    assert all(lessons.logits.find(step) is not None for step in (1, 2, 3))


def test_a_longer_run_scores_only_what_is_missing(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("protector_models.training.detector.teacher_logits.BATCHES_PER_SHARD", 2)
    prepare(plan=DistillationPlan(every=1, num_windows=8))
    scored = _count_calls(monkeypatch)
    prepare(plan=DistillationPlan(every=1, num_windows=16))
    assert len(scored) == 2


def test_logits_of_another_recipe_are_refused_by_what_differs(prepare: Prepare) -> None:
    prepare()
    with pytest.raises(ValueError, match=r"differ in seed\)"):
        prepare(replace(RECIPE, seed=2))
    with pytest.raises(ValueError, match=r"differ in batch_size\)"):
        prepare(replace(RECIPE, batch_size=2))


def test_logits_of_another_teacher_are_refused(prepare: Prepare, teacher: Teacher) -> None:
    prepare()
    with pytest.raises(ValueError, match=r"differ in teacher_sha256\)"):
        prepare(teacher=replace(teacher, weights_sha256="0" * 64))


def test_logits_for_other_rows_are_refused(prepare: Prepare, rows: list[PiecedExample]) -> None:
    prepare()
    with pytest.raises(ValueError, match=r"differ in rows_sha256\)"):
        prepare(rows=[*rows[1:], rows[0]])


def test_other_learning_rates_and_weights_need_no_new_logits(prepare: Prepare, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare()
    scored = _count_calls(monkeypatch)
    lessons = prepare(replace(RECIPE, encoder_lr=1e-5), replace(PLAN, weight=2.0))
    assert not scored
    assert lessons.choices["distillation_weight"] == 2.0


def test_the_choices_name_teacher_and_rows(prepare: Prepare, teacher: Teacher) -> None:
    choices = prepare().choices
    assert choices["teacher"] == teacher.revision
    assert choices["num_unlabelled"] == 3
    assert {"teacher_sha256", "unlabelled_sha256", "distillation_num_windows"} <= set(choices)


def _count_calls(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Counts the batches that a network reads from now on."""
    calls: list[None] = []
    forward = DetectorNetwork.forward

    def counted(network: DetectorNetwork, batch: Batch) -> DetectorLogits:
        calls.append(None)
        return forward(network, batch)

    monkeypatch.setattr(DetectorNetwork, "forward", counted)
    return calls

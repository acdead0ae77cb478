"""`weir train detector --recipe encoder`: the detector that ships, from labels alone or from a teacher as well."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.training_bars import add_training, make_bars

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress

    from protector_models.checkpoints.cards import CheckpointCard
    from protector_models.training.detector.answer_draws import PiecedExample
    from protector_models.training.detector.detector_recipe import DetectorRecipe
    from protector_models.training.detector.distillation import TeacherLessons


def train_shipped_detector(
    data: Path,
    out: Path,
    *,
    encoder: Path,
    teacher_directory: Path | None,
    num_teacher_windows: int | None,
    num_threads: int,
    num_steps: int | None,
) -> "CheckpointCard":
    """Train encoder and bag of words, and return the card of what was written.

    Args:
        data: directory of labelled records.
        out: where weights, card, checkpoint and a teacher's logits go.
        encoder: pretrained, in Hugging Face form.
        teacher_directory: as recipe teacher wrote it; None: labels alone.
        num_teacher_windows: read by the teacher at most; None: as the plan says.
        num_threads: CPU threads.
        num_steps: optimiser steps; None: the recipe's.

    Raises:
        CheckpointError: the teacher is missing or damaged.
        ValueError: data, checkpoint, or logits of the teacher cannot be used.
    """
    # Imported here, not above: torch takes seconds, and every other command would pay for them.
    from protector_models.detectors.shipped.window_layout import PairLayout  # noqa: PLC0415
    from protector_models.records.examples import load_examples  # noqa: PLC0415
    from protector_models.training.detector.answer_draws import AnswerDraws, DrawPlan, cut_examples  # noqa: PLC0415
    from protector_models.training.detector.bag_of_words_recipe import (  # noqa: PLC0415
        OUTPUTS,
        BagOfWordsRecipe,
        train_bag_of_words,
    )
    from protector_models.training.detector.batches import WindowMaker  # noqa: PLC0415
    from protector_models.training.detector.detector_recipe import (  # noqa: PLC0415
        DetectorRecipe,
        load_training_tokenizer,
        train_detector,
    )
    from protector_models.training.detector.packaging import count_scored_rows, package_detector  # noqa: PLC0415
    from protector_models.training.detector.row_digest import describe_rows  # noqa: PLC0415
    from protector_models.training.resumable import set_threads  # noqa: PLC0415

    recipe = DetectorRecipe() if num_steps is None else DetectorRecipe(num_steps=num_steps)
    set_threads(num_threads)
    split = load_examples(data, validation_percent=recipe.validation_percent, seed=recipe.seed)
    tokenizer = load_training_tokenizer(encoder)
    rows = cut_examples(split.training, tokenizer.token_to_id)
    with make_bars() as progress:
        counting = progress.add_task("bag of words", total=len(OUTPUTS))
        lessons = None
        if teacher_directory is not None:
            lessons = _prepare_lessons(
                teacher_directory,
                data,
                out,
                rows,
                encoder=encoder,
                recipe=recipe,
                num_windows=num_teacher_windows,
                progress=progress,
            )
        report_step = add_training(progress, recipe.num_steps)
        bag_of_words = train_bag_of_words(
            rows,
            AnswerDraws(rows, DrawPlan()),
            WindowMaker(tokenizer, PairLayout.for_vocabulary(tokenizer)),
            BagOfWordsRecipe(),
            report_outputs=lambda num: progress.advance(counting, num),
        )
        network = train_detector(
            rows,
            tokenizer,
            encoder_directory=encoder,
            checkpoint_directory=out / "checkpoint",
            recipe=recipe,
            report=report_step,
            lessons=lessons,
        )
        scoring = progress.add_task("scoring the held-out slice", total=count_scored_rows(split.validation, tokenizer))
        return package_detector(
            network,
            bag_of_words,
            split.validation,
            tokenizer=tokenizer,
            encoder_directory=encoder,
            directory=out,
            recipe=recipe,
            num_threads=num_threads,
            report_rows=lambda num_rows: progress.advance(scoring, num_rows),
            origin=lessons.choices if lessons else describe_rows(rows),
        )


def _prepare_lessons(
    teacher_directory: Path,
    data: Path,
    out: Path,
    rows: "Sequence[PiecedExample]",
    *,
    encoder: Path,
    recipe: "DetectorRecipe",
    num_windows: int | None,
    progress: "Progress",
) -> "TeacherLessons":
    from protector_models.detectors.shipped.harm_detector import TOKENIZER_FILE  # noqa: PLC0415
    from protector_models.records.unlabelled import load_unlabelled  # noqa: PLC0415
    from protector_models.training.detector.answer_draws import cut_example  # noqa: PLC0415
    from protector_models.training.detector.detector_recipe import load_training_tokenizer  # noqa: PLC0415
    from protector_models.training.detector.distillation import (  # noqa: PLC0415
        DistillationPlan,
        count_taught_batches,
        prepare_lessons,
    )
    from protector_models.training.detector.teacher import load_teacher  # noqa: PLC0415

    plan = DistillationPlan() if num_windows is None else DistillationPlan(num_windows=num_windows)
    teacher = load_teacher(teacher_directory, tokenizer_file=encoder / TOKENIZER_FILE)
    tokenizer = load_training_tokenizer(encoder)
    unlabelled = load_unlabelled(data, validation_percent=recipe.validation_percent)
    reading = progress.add_task("the teacher reads", total=count_taught_batches(recipe, plan))
    return prepare_lessons(
        teacher,
        rows,
        [cut_example(example, tokenizer.token_to_id) for example in unlabelled],
        tokenizer,
        directory=out / "teacher_logits",
        recipe=recipe,
        plan=plan,
        report=lambda num_batches: progress.advance(reading, num_batches),
    )

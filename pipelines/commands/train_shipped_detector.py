"""`weir train detector --recipe encoder`: the detector that ships, from labels alone or from a teacher as well."""

from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.teacher_lessons import have_teacher_read
from pipelines.commands.training_bars import add_training, make_bars

if TYPE_CHECKING:
    from protector_models.checkpoints.cards import CheckpointCard


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
    from protector_models.checkpoints.cards import hash_file  # noqa: PLC0415
    from protector_models.detectors.shipped.weights_in_use import TOKENIZER_FILE  # noqa: PLC0415
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
        begin_network,
        load_training_tokenizer,
        train_detector,
    )
    from protector_models.training.detector.held_out import count_scored_rows  # noqa: PLC0415
    from protector_models.training.detector.packaging import (  # noqa: PLC0415
        ENCODER_WEIGHTS_FILE,
        package_detector,
    )
    from protector_models.training.detector.row_digest import describe_rows  # noqa: PLC0415
    from protector_models.training.detector.teacher import load_teacher  # noqa: PLC0415
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
            lessons = have_teacher_read(
                load_teacher(teacher_directory, tokenizer_file=encoder / TOKENIZER_FILE),
                data,
                out,
                rows,
                vocabulary=encoder,
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
            network=begin_network(encoder, recipe),
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
            tokenizer_directory=encoder,
            directory=out,
            recipe=recipe,
            num_threads=num_threads,
            report_rows=lambda num_rows: progress.advance(scoring, num_rows),
            origin={
                "encoder_sha256": hash_file(encoder / ENCODER_WEIGHTS_FILE),
                **(lessons.choices if lessons else describe_rows(rows)),
            },
        )

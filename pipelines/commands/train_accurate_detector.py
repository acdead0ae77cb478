"""`weir train detector --recipe accurate`: a teacher with fewer layers, small enough to be served."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.teacher_lessons import have_teacher_read
from pipelines.commands.training_bars import add_training, make_bars
from protector_models.checkpoints.minilm_wheel import find_base_encoder

if TYPE_CHECKING:
    from protector_models.checkpoints.cards import CheckpointCard


def train_accurate_detector(
    data: Path,
    out: Path,
    *,
    teacher_directory: Path,
    num_teacher_windows: int | None,
    num_threads: int,
    num_steps: int | None,
) -> "CheckpointCard":
    """Take layers out of a teacher, train on, and return the card of what was written.

    Args:
        data: directory of labelled records.
        out: where weights, card, checkpoint and the teacher's logits go.
        teacher_directory: as recipe teacher wrote it.
        num_teacher_windows: read by the teacher at most; None: as the plan says.
        num_threads: CPU threads.
        num_steps: optimiser steps; None: the recipe's.

    Raises:
        CheckpointError: the teacher is missing or damaged, or there is no vocabulary.
        ValueError: data, checkpoint, or logits of the teacher cannot be used.
    """
    # Imported here, not above: torch takes seconds, and every other command would pay for it.
    from protector_models.detectors.shipped.harm_detector import TOKENIZER_FILE  # noqa: PLC0415
    from protector_models.records.examples import load_examples  # noqa: PLC0415
    from protector_models.training.detector.answer_draws import cut_examples  # noqa: PLC0415
    from protector_models.training.detector.detector_recipe import load_training_tokenizer, train_detector  # noqa: PLC0415
    from protector_models.training.detector.packaging import count_scored_rows, package_detector  # noqa: PLC0415
    from protector_models.training.detector.shortening import (  # noqa: PLC0415
        ACCURATE_NAME,
        ACCURATE_RECIPE,
        KEPT_LAYERS,
        rounding_inputs,
        shorten,
    )
    from protector_models.training.detector.teacher import load_teacher  # noqa: PLC0415
    from protector_models.training.resumable import set_threads  # noqa: PLC0415

    recipe = ACCURATE_RECIPE if num_steps is None else replace(ACCURATE_RECIPE, num_steps=num_steps)
    set_threads(num_threads)
    split = load_examples(data, validation_percent=recipe.validation_percent, seed=recipe.seed)
    # Teacher and student read with the vocabulary of the small encoder.
    vocabulary = find_base_encoder()
    tokenizer = load_training_tokenizer(vocabulary)
    teacher = load_teacher(teacher_directory, tokenizer_file=vocabulary / TOKENIZER_FILE)
    rows = cut_examples(split.training, tokenizer.token_to_id)
    with make_bars() as progress:
        lessons = have_teacher_read(
            teacher,
            data,
            out,
            rows,
            vocabulary=vocabulary,
            recipe=recipe,
            num_windows=num_teacher_windows,
            progress=progress,
        )
        network = shorten(teacher.network)
        with rounding_inputs(network):
            train_detector(
                rows,
                tokenizer,
                network=network,
                checkpoint_directory=out / "checkpoint",
                recipe=recipe,
                report=add_training(progress, recipe.num_steps),
                lessons=lessons,
            )
        scoring = progress.add_task("scoring the held-out slice", total=count_scored_rows(split.validation, tokenizer))
        return package_detector(
            network,
            None,
            split.validation,
            tokenizer=tokenizer,
            tokenizer_directory=vocabulary,
            directory=out,
            recipe=recipe,
            num_threads=num_threads,
            report_rows=lambda num_rows: progress.advance(scoring, num_rows),
            origin={"kept_layers": " ".join(map(str, KEPT_LAYERS)), **lessons.choices},
            name=ACCURATE_NAME,
            embedding_bits=4,
        )

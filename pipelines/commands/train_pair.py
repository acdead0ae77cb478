"""`weir train pair`: thresholds for a fast and an accurate detector that are served together."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.commands.exit_statuses import FAILED_TRAINING, ending_in_one_line
from pipelines.commands.training_bars import make_bars, tabulate_card


def train_pair(
    data: Annotated[Path, typer.Option(help="Directory with one directory of records per training set.")],
    weights: Annotated[
        Path,
        typer.Option(
            help="Weights directory of the fast detector, with the accurate one in its folder `accurate`; the card "
            "there is written anew."
        ),
    ],
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Choose the thresholds of two detectors that are served together, on the slice that their training held out.

    To be run whenever one of the two was trained anew: until then `detector.weights: both` refuses them.

    Exit codes: 0 done; 1 scoring failed; 2 the data or the weights cannot be used.
    """
    with ending_in_one_line("weir train pair", also=FAILED_TRAINING):
        # Imported here, not above: torch takes seconds, and every other command would pay for it.
        from protector_models.records.examples import load_examples  # noqa: PLC0415
        from protector_models.training.detector.detector_recipe import (  # noqa: PLC0415
            DetectorRecipe,
            load_training_tokenizer,
        )
        from protector_models.training.detector.held_out import count_scored_rows  # noqa: PLC0415
        from protector_models.training.detector.pairing import PairPlan, pair_detectors  # noqa: PLC0415

        recipe = DetectorRecipe()
        split = load_examples(data, validation_percent=recipe.validation_percent, seed=recipe.seed)
        tokenizer = load_training_tokenizer(weights)
        with make_bars() as progress:
            num_rows = count_scored_rows(split.validation, tokenizer)
            scoring = progress.add_task("scoring the held-out slice", total=num_rows)
            card = pair_detectors(
                weights,
                split.validation,
                tokenizer=tokenizer,
                plan=PairPlan(),
                num_threads=threads,
                report_rows=lambda rows: progress.advance(scoring, rows),
            )
    Console().print(tabulate_card(card, weights))

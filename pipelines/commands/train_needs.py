"""`weir train needs`: the head that tells what a person who writes may need, for the fast detector."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.commands.exit_statuses import FAILED_TRAINING, ending_in_one_line
from pipelines.commands.training_bars import make_bars, tabulate_card


def train_needs(
    data: Annotated[Path, typer.Option(help="Directory with one directory of records per training set.")],
    weights: Annotated[
        Path, typer.Option(help="Weights directory of the fast detector; the head goes into its folder `needs`.")
    ],
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
) -> None:
    """Train what chooses the words for people in danger or in grief: a few minutes, the encoder stays as it is.

    To be run whenever the fast detector was trained anew: until then it refuses its old head. Figures of the card are
    cross-validated. Evaluation data is refused: a directory named "eval" is never trained on.

    Exit codes: 0 done; 1 training failed; 2 the data or the weights cannot be used.
    """
    with ending_in_one_line("weir train needs", also=FAILED_TRAINING):
        # Imported here, not above: every other command would pay for it.
        from protector_models.training.detector.needs_recipe import NeedsRecipe  # noqa: PLC0415
        from protector_models.training.detector.needs_recipe import train_needs as fit_needs  # noqa: PLC0415

        with make_bars() as progress:
            reading = progress.add_task("reading texts", total=None)
            card = fit_needs(
                data,
                weights,
                NeedsRecipe(),
                num_threads=threads,
                report_rows=lambda rows: progress.advance(reading, rows),
            )
    Console().print(tabulate_card(card, weights))

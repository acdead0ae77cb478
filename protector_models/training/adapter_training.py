"""Training a LoRA adapter on a base model: what the recipes of detector and detoxifier share.

It runs on one device or, started by `accelerate launch` or `torchrun`, in several processes that share each batch.
Every step's batch and the units that it drops out are decided by the seed, so that an interrupted run goes on as if it
had not been.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from accelerate import Accelerator  # type: ignore[import-untyped]  # ships no types
from peft import LoraConfig, TaskType, get_peft_model
from torch import Tensor, nn

from protector_models.moderation.batch_cuts import split_by_count
from protector_models.settings import Device, Dtype
from protector_models.training.optimisation import LoopPlan, StepCost, run_steps
from protector_models.training.resumable import Run, TrainingProgress, learning_rate_factor

ExampleT = TypeVar("ExampleT")

QUERY_VALUE = "query-value"
ALL_LINEAR = "all-linear"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterRecipe:
    """The choices of a run; two runs with equal recipes, base and data see the same batches in the same order."""

    seed: int = 17
    num_epochs: int = 4
    batch_size: int = 16
    """Examples of a step, over all processes."""
    micro_batch_size: int = 4
    """Examples computed at once; the gradients of a batch are summed over them."""
    lr: float = 2e-5
    warmup_share: float = 0.0
    """Share of the steps in which the learning rate rises linearly from 0; afterwards it falls linearly to 0."""
    max_gradient_norm: float = 1.0
    rank: int = 32
    alpha: int = 32
    dropout: float = 0.1
    lora_targets: str = QUERY_VALUE
    """Layers that get an adapter: "query-value" (what peft takes for them), "all-linear", or names joined by commas."""
    max_tokens: int = 512
    """Of one input; longer examples are left out."""
    checkpoint_every: int = 100
    """Steps between resumable checkpoints."""

    def count_steps(self, num_examples: int) -> int:
        """Returns the optimiser steps of a run over so many examples."""
        return self.num_epochs * -(-num_examples // self.batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class PartLoss:
    """The loss of some examples."""

    total: Tensor
    """Summed over them, not yet divided by anything."""
    num_tokens: int
    """Computed, padding included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterObjective(Generic[ExampleT]):
    """The aim of an adapter's training."""

    measure: Callable[[Any, Sequence[ExampleT]], PartLoss]
    """The loss of some examples, of the model that is called."""
    weigh: Callable[[ExampleT], float]
    """A batch's loss is divided by the sum of it over its examples."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterProgress:
    """Calls that hear of a run; none of them may block for long."""

    start: Callable[[int, int], None]
    """The steps of the training, and the rows that are measured, all passes together."""
    step: Callable[[TrainingProgress], None]
    measured: Callable[[int], None]
    """The number of rows measured since the last call."""


def start_accelerator(device: Device, dtype: Dtype) -> Accelerator:
    """Joins the processes of the run: one, unless a launcher started several.

    Args:
        device: where to compute; each of several processes takes a GPU of its own.
        dtype: of the base's weights; with bfloat16 matrix products are computed in it, too.

    Raises:
        ValueError: float16, in which small gradients vanish.
    """
    if dtype == "float16":
        raise ValueError("dtype: expected float32 or bfloat16 for training, got float16, in which gradients vanish")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device: 'cuda', but torch finds no GPU here; expected one, or 'cpu'")
    return Accelerator(cpu=device == "cpu", mixed_precision="bf16" if dtype == "bfloat16" else "no")


def add_adapter(model: nn.Module, recipe: AdapterRecipe, task: TaskType) -> Any:
    """Returns a base model with a fresh LoRA adapter around it, which changes nothing yet; what is trained is float32.

    Raises:
        ValueError: peft does not know the layers, or the base has none of those names.
    """
    torch.manual_seed(recipe.seed)
    config = LoraConfig(
        task_type=task,
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules=_name_targets(recipe.lora_targets),
    )
    adapted = get_peft_model(model, config)
    for parameter in _trained(adapted):
        parameter.data = parameter.data.float()
    return adapted


def train_adapter(
    model: Any,
    examples: Sequence[ExampleT],
    objective: AdapterObjective[ExampleT],
    *,
    accelerator: Accelerator,
    recipe: AdapterRecipe,
    num_steps: int,
    choices: Mapping[str, Any],
    checkpoint_directory: Path,
    report: Callable[[TrainingProgress], None],
) -> None:
    """Trains the adapter of a model, going on from the checkpoint of an interrupted run if there is one.

    Args:
        model: a model with a fresh adapter, as `add_adapter` makes it; in evaluation mode afterwards.
        examples: encoded training examples.
        objective: their loss.
        accelerator: the process.
        recipe: the choices of the run.
        num_steps: optimiser steps.
        choices: the recipe and whatever else decides the result: a checkpoint of other choices is refused.
        checkpoint_directory: where `checkpoint.pt` is kept: of the adapter, not of the base.
        report: called after each step, in one process; may not block for long.

    Raises:
        ValueError: there is nothing to train on, or the directory holds a checkpoint of another run.
        FloatingPointError: the loss became NaN or infinite.
    """
    if not examples:
        raise ValueError(f"no example has at most {recipe.max_tokens} tokens; expected some to train on")
    wrapped = accelerator.prepare_model(model.train())
    trained = _trained(model)
    optimizer = torch.optim.AdamW(trained, lr=recipe.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: learning_rate_factor(step, num_steps=num_steps, warmup_share=recipe.warmup_share),
    )

    def backpropagate(step: int, batch: Sequence[ExampleT]) -> StepCost:
        # A run that goes on from a checkpoint drops the same units as one that was never interrupted.
        torch.manual_seed(recipe.seed + step + accelerator.process_index * num_steps)
        return _backpropagate(wrapped, batch, objective, accelerator, micro_batch_size=recipe.micro_batch_size)

    run_steps(
        # The list shares the adapter's tensors, and the gigabytes of the base stay out of the checkpoint.
        Run(network=nn.ParameterList(trained), optimizer=optimizer, schedule=schedule),
        draw_batches(examples, batch_size=recipe.batch_size, rng=random.Random(recipe.seed)),
        backpropagate,
        plan=LoopPlan(
            num_steps=num_steps,
            max_gradient_norm=recipe.max_gradient_norm,
            checkpoint_every=recipe.checkpoint_every,
            choices=choices,
            checkpoint_directory=checkpoint_directory,
            writes_checkpoints=accelerator.is_main_process,
        ),
        report=report if accelerator.is_main_process else lambda _: None,
    )
    accelerator.wait_for_everyone()
    # Takes the autocasting off again: measured and saved is the model as it will be served.
    accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False)
    model.eval()


def draw_batches(examples: Sequence[ExampleT], *, batch_size: int, rng: random.Random) -> Iterator[Sequence[ExampleT]]:
    """Yields batches for ever, every example once in an epoch; the last of an epoch may be smaller."""
    order = list(examples)
    while True:
        rng.shuffle(order)
        yield from split_by_count(order, batch_size)


def _backpropagate(
    model: Any,
    batch: Sequence[ExampleT],
    objective: AdapterObjective[ExampleT],
    accelerator: Accelerator,
    *,
    micro_batch_size: int,
) -> StepCost:
    """Adds the gradients of a batch, of which each process computes its share."""
    divisor = sum(objective.weigh(example) for example in batch)
    own = batch[accelerator.process_index :: accelerator.num_processes]
    # Processes wait for each other's gradients: one without a share of a short batch computes one that weighs nothing.
    factor = accelerator.num_processes / divisor if own else 0.0
    parts = list(split_by_count(own, micro_batch_size)) or [batch[:1]]
    loss, num_tokens = 0.0, 0
    for part in parts:
        # Gradients are averaged over the processes once, with the last part.
        with nullcontext() if part is parts[-1] else accelerator.no_sync(model):
            found = objective.measure(model, part)
            accelerator.backward(found.total * factor)
        loss += found.total.item() * factor
        num_tokens += found.num_tokens
    mean = accelerator.reduce(torch.tensor(loss, device=accelerator.device), reduction="mean")
    assert isinstance(mean, Tensor)
    return StepCost(loss=mean.item(), num_tokens=num_tokens)


def _trained(model: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _name_targets(lora_targets: str) -> str | list[str] | None:
    """Returns the layers as peft takes them."""
    if lora_targets == QUERY_VALUE:
        return None
    return ALL_LINEAR if lora_targets == ALL_LINEAR else lora_targets.split(",")

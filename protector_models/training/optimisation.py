"""The loop of every training run: steps from checkpoint to checkpoint, whatever is trained."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import torch

from protector_models.training.resumable import CHECKPOINT_NAME, Run, TrainingProgress, resume_run, save_run

BatchT = TypeVar("BatchT")

_NUM_RECENT = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """What one step cost."""

    loss: float
    num_tokens: int
    """Computed in this process, padding included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopPlan:
    """How the loop runs."""

    num_steps: int
    max_gradient_norm: float
    checkpoint_every: int
    """Steps between resumable checkpoints; there is one after the last step, too."""
    choices: Mapping[str, Any]
    """Whatever decides the run's result: a checkpoint of other choices is refused."""
    checkpoint_directory: Path
    writes_checkpoints: bool = True
    """Of several processes, one does; all read them."""


def run_steps(
    run: Run,
    batches: Iterator[BatchT],
    backpropagate: Callable[[int, BatchT], StepCost],
    *,
    plan: LoopPlan,
    report: Callable[[TrainingProgress], None],
) -> None:
    """Takes the steps of a run, going on from the checkpoint of an interrupted one if there is one.

    Args:
        run: what is trained, and what moves it.
        batches: one a step, the same in every run; those before the checkpoint are drawn again and thrown away, because
            the generator behind them must pass through them.
        backpropagate: given the number of the step, from 1, and its batch, adds the gradients to the parameters, which
            have none before.
        plan: how the loop runs.
        report: called after each step; may not block for long.

    Raises:
        ValueError: the directory holds a checkpoint of other choices.
        FloatingPointError: the loss became NaN or infinite.
    """
    checkpoint = plan.checkpoint_directory / CHECKPOINT_NAME
    first_step = resume_run(checkpoint, run, recipe=plan.choices)
    losses: list[float] = []
    num_tokens = 0
    for step, batch in enumerate(islice(batches, first_step, plan.num_steps), start=first_step + 1):
        run.optimizer.zero_grad(set_to_none=True)
        cost = backpropagate(step, batch)
        if not math.isfinite(cost.loss):
            raise FloatingPointError(f"loss is {cost.loss} at step {step}")
        torch.nn.utils.clip_grad_norm_(run.network.parameters(), plan.max_gradient_norm)
        run.optimizer.step()
        run.schedule.step()
        losses.append(cost.loss)
        num_tokens += cost.num_tokens
        recent = losses[-_NUM_RECENT:]
        loss = sum(recent) / len(recent)
        report(TrainingProgress(step=step, num_steps=plan.num_steps, loss=loss, num_tokens=num_tokens))
        if plan.writes_checkpoints and (step % plan.checkpoint_every == 0 or step == plan.num_steps):
            save_run(checkpoint, run, step=step, recipe=plan.choices)

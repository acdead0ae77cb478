"""Training runs that can be resumed: their schedule, and checkpoints that an interruption leaves whole."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

CHECKPOINT_NAME = "checkpoint.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingProgress:
    """What a run reports after each step."""

    step: int
    num_steps: int
    loss: float
    """Mean over the last 50 steps."""
    num_tokens: int
    """Tokens of this process, padding included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a checkpoint holds besides the step."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LambdaLR


def learning_rate_factor(step: int, *, num_steps: int, warmup_share: float) -> float:
    """Returns the factor of the learning rate in [0, 1]: it rises linearly from 0, then falls linearly to 0."""
    num_warmup = max(1, round(warmup_share * num_steps))
    if step < num_warmup:
        return (step + 1) / num_warmup
    return max(0.0, (num_steps - step) / max(1, num_steps - num_warmup))


def save_run(file: Path, run: Run, *, step: int, recipe: Mapping[str, Any]) -> None:
    """Writes a checkpoint; the older one is replaced in one step, so that an interruption leaves one whole."""
    state = {
        "recipe": dict(recipe),
        "step": step,
        "network": run.network.state_dict(),
        "optimizer": run.optimizer.state_dict(),
        "schedule": run.schedule.state_dict(),
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".tmp")
    torch.save(state, unfinished)
    unfinished.replace(file)


def resume_run(file: Path, run: Run, *, recipe: Mapping[str, Any]) -> int:
    """Loads a checkpoint into a run, if there is one; returns the steps that it has behind it.

    Raises:
        ValueError: it is a checkpoint of another recipe.
    """
    if not file.exists():
        return 0
    state = torch.load(file, weights_only=True)
    if state["recipe"] != recipe:
        changed = sorted(key for key in recipe if state["recipe"].get(key) != recipe[key])
        raise ValueError(
            f"{file}: checkpoint of another recipe (differs in {', '.join(changed)}); remove it to start anew"
        )
    run.network.load_state_dict(state["network"])
    run.optimizer.load_state_dict(state["optimizer"])
    run.schedule.load_state_dict(state["schedule"])
    return int(state["step"])


def set_threads(num_threads: int) -> None:
    """Sets how many threads torch computes with in this process; results may differ in the last bits between counts."""
    torch.set_num_threads(num_threads)

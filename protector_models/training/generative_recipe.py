"""The recipe of the generative detoxifier: a LoRA adapter that has a language model rewrite harmful answers.

The choices are those of MLLM-Protector (arXiv 2401.02906, the detoxifier of its published code): rank 128, alpha 32,
dropout 0.1 on queries and values, learning rate 2e-5, 4 epochs, cross-entropy on the target alone. Other than there,
the answer is asked for by the prompt that serving builds, and pairs of a safe answer with itself teach the model to
leave safe answers alone.

Shapes: B examples, T tokens.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, TaskType, get_peft_model
from torch import Tensor, nn
from torch.nn import functional

from protector_models.language_model_loading import BaseModel
from protector_models.rewrite_prompts import REWRITE_LAYOUT
from protector_models.settings import Device
from protector_models.training.generative_batches import (
    NO_LABEL,
    AnswerBatch,
    EncodedAnswer,
    collate,
    draw_batches,
)
from protector_models.training.resumable import (
    CHECKPOINT_NAME,
    Run,
    TrainingProgress,
    learning_rate_factor,
    resume_run,
    save_run,
)

LoraTargets = Literal["query-value", "all-linear"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerativeRecipe:
    """Every choice of a run; two runs with equal recipes, base and data see the same batches in the same order."""

    seed: int = 17
    num_epochs: int = 4
    batch_size: int = 16
    micro_batch_size: int = 4
    """Examples computed at once; the gradients of a batch are summed over them."""
    lr: float = 2e-5
    warmup_share: float = 0.03
    max_gradient_norm: float = 1.0
    rank: int = 128
    alpha: int = 32
    dropout: float = 0.1
    lora_targets: LoraTargets = "query-value"
    """Layers that get an adapter: queries and values (what peft takes for them), or every linear one."""
    max_tokens: int = 1_024
    """Prompt and target; longer examples are left out."""
    identity_share: float = 0.2
    """Of safe answers that stay as they are, among all examples."""
    validation_percent: int = 5
    checkpoint_every: int = 100
    """Steps between resumable checkpoints."""

    def count_steps(self, num_examples: int) -> int:
        """Returns the optimiser steps of a run over so many examples."""
        return self.num_epochs * -(-num_examples // self.batch_size)


def add_adapter(base: BaseModel, recipe: GenerativeRecipe) -> Any:
    """Returns the base model with a fresh LoRA adapter around it: at first it writes as the base does.

    Raises:
        ValueError: peft does not know which layers of the base are queries and values.
    """
    torch.manual_seed(recipe.seed)
    is_causal = not base.model.config.is_encoder_decoder
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM if is_causal else TaskType.SEQ_2_SEQ_LM,
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout,
        target_modules="all-linear" if recipe.lora_targets == "all-linear" else None,
    )
    return get_peft_model(base.model, config)


def train_adapter(
    model: Any,
    examples: Sequence[EncodedAnswer],
    *,
    pad_id: int,
    device: Device,
    num_steps: int,
    checkpoint_directory: Path,
    recipe: GenerativeRecipe,
    base_digest: str,
    report: Callable[[TrainingProgress], None],
) -> None:
    """Trains the adapter of a model, going on from the checkpoint of an interrupted run if there is one.

    Args:
        model: a model with a fresh adapter, as `add_adapter` makes it; on `device`, and in evaluation mode afterwards.
        examples: encoded training examples.
        pad_id: what shorter examples are filled up with.
        device: where to compute.
        num_steps: optimiser steps.
        checkpoint_directory: where `checkpoint.pt` is kept: of the adapter, not of the base.
        recipe: the choices of the run.
        base_digest: of the base's files; the checkpoint of a run on another base is refused.
        report: called after each step; may not block for long.

    Raises:
        ValueError: there is nothing to train on, or the directory holds a checkpoint of another run.
        FloatingPointError: the loss became NaN or infinite.
    """
    if not examples:
        raise ValueError(f"no example has at most {recipe.max_tokens} tokens; expected some to train on")
    model.to(device).train()
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=recipe.lr, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: learning_rate_factor(step, num_steps=num_steps, warmup_share=recipe.warmup_share),
    )
    # The list shares the adapter's tensors, and the gigabytes of the base stay out of the checkpoint.
    run = Run(network=nn.ParameterList(trained), optimizer=optimizer, schedule=schedule)
    choices = asdict(recipe) | {"layout": REWRITE_LAYOUT, "base": base_digest, "num_steps": num_steps}
    checkpoint = checkpoint_directory / CHECKPOINT_NAME
    first_step = resume_run(checkpoint, run, recipe=choices)
    losses: list[float] = []
    num_tokens = 0
    # The batches before the checkpoint are drawn again and thrown away: the generator must pass through them.
    batches = draw_batches(examples, batch_size=recipe.batch_size, rng=random.Random(recipe.seed))
    for step, batch in enumerate(islice(batches, first_step, num_steps), start=first_step + 1):
        # A run that goes on from a checkpoint drops the same units as one that was never interrupted.
        torch.manual_seed(recipe.seed + step)
        optimizer.zero_grad(set_to_none=True)
        total_weight = sum(example.weight * len(example.target_ids) for example in batch)
        loss_sum = 0.0
        for micro_batch in _collate_parts(batch, recipe.micro_batch_size, model, pad_id):
            loss = weighted_loss(model, micro_batch) / total_weight
            loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            loss_sum += loss.item()
            num_tokens += micro_batch.ids_BT.numel()
        if not torch.isfinite(torch.tensor(loss_sum)):
            raise FloatingPointError(f"loss is {loss_sum} at step {step}")
        torch.nn.utils.clip_grad_norm_(trained, recipe.max_gradient_norm)
        optimizer.step()
        schedule.step()
        losses.append(loss_sum)
        recent = losses[-50:]
        report(TrainingProgress(step=step, num_steps=num_steps, loss=sum(recent) / len(recent), num_tokens=num_tokens))
        if step % recipe.checkpoint_every == 0 or step == num_steps:
            save_run(checkpoint, run, step=step, recipe=choices)
    model.eval()


def weighted_loss(model: Any, batch: AnswerBatch) -> Tensor:
    """Returns the cross-entropy of the targets' tokens, each times its example's weight, summed."""
    device = next(model.parameters()).device
    labels_BT = batch.labels_BT.to(device)
    fields = {"input_ids": batch.ids_BT.to(device), "attention_mask": batch.mask_BT.to(device)}
    if model.config.is_encoder_decoder:
        logits_BTV = model(**fields, labels=labels_BT).logits
    else:
        # A causal model's logits at one place are about the next.
        logits_BTV, labels_BT = model(**fields).logits[:, :-1], labels_BT[:, 1:]
    losses_BT = functional.cross_entropy(
        logits_BTV.float().transpose(1, 2), labels_BT, ignore_index=NO_LABEL, reduction="none"
    )
    return (losses_BT.sum(dim=1) * batch.weights_B.to(device)).sum()


def measure_loss(
    model: Any,
    examples: Sequence[EncodedAnswer],
    *,
    pad_id: int,
    micro_batch_size: int,
    report_examples: Callable[[int], None],
) -> float | None:
    """Returns the mean cross-entropy of a target's token over some examples, unweighted; None where there are none."""
    if not examples:
        return None
    model.eval()
    total = 0.0
    by_length = sorted(examples, key=lambda example: len(example.prompt_ids))
    for batch in _collate_parts(by_length, micro_batch_size, model, pad_id):
        with torch.inference_mode():
            batch.weights_B.fill_(1.0)
            total += weighted_loss(model, batch).item()
        report_examples(len(batch.weights_B))
    return total / sum(len(example.target_ids) for example in examples)


def _collate_parts(examples: Sequence[EncodedAnswer], size: int, model: Any, pad_id: int) -> Iterator[AnswerBatch]:
    is_causal = not model.config.is_encoder_decoder
    for start in range(0, len(examples), size):
        yield collate(examples[start : start + size], is_causal=is_causal, pad_id=pad_id)

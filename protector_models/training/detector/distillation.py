"""Distillation: a small detector learns from a larger one, its teacher, beside what it learns from labels.

The stream of batches is decided by rows, recipe and seed, so it can be walked twice: once for the teacher, who scores
some of its windows, and once for the student, who is pulled towards the teacher's probabilities.

Shapes: B windows, S pieces of all windows of a batch, K logits, C trained categories.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional

from protector_models.detectors.shipped.window_aggregation import ALONE, ANSWER, FIRST_CATEGORY
from protector_models.detectors.shipped.window_layout import PAIR_LAYOUT
from protector_models.training.detector.answer_draws import DrawPlan, PiecedExample
from protector_models.training.detector.batches import Batch
from protector_models.training.detector.detector_network import DetectorLogits, DetectorNetwork, find_worst
from protector_models.training.detector.detector_recipe import DetectorRecipe, draw_batches
from protector_models.training.detector.row_digest import describe_rows
from protector_models.training.detector.teacher import Teacher
from protector_models.training.detector.teacher_logits import Choices, TeacherLogits


@dataclass(frozen=True, slots=True, kw_only=True)
class DistillationPlan:
    """How a student learns from a teacher."""

    every: int = 6
    """The teacher reads the first of every so many batches of the student's stream: reading costs it more than the
    student needs to learn from what it says and from labels."""
    num_windows: int = 24_000
    """It reads no more than so many windows, in whole batches."""
    weight: float = 1.0
    """Of the loss against the teacher's probabilities."""
    label_weight: float = 0.5
    """Of the loss of labels, in batches that the teacher has read; 1 in all others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherLessons:
    """What a student learns from its teacher; the `Lessons` of a run."""

    unlabelled: Sequence[PiecedExample]
    logits: TeacherLogits
    recipe: DetectorRecipe
    plan: DistillationPlan
    choices: Choices
    """Of teacher, rows and plan, as they stand in the student's card."""

    def join(self, loss_of_labels: Tensor, logits: DetectorLogits, batch: Batch, *, step: int) -> Tensor:
        """Adds the loss against the teacher's probabilities, in batches that the teacher has read."""
        taught = self.logits.find(step)
        if taught is None:
            return loss_of_labels
        loss = distillation_loss(logits, taught, batch, self.recipe)
        return self.plan.label_weight * loss_of_labels + self.plan.weight * loss


def prepare_lessons(
    teacher: Teacher,
    rows: Sequence[PiecedExample],
    unlabelled: Sequence[PiecedExample],
    tokenizer: Tokenizer,
    *,
    directory: Path,
    recipe: DetectorRecipe,
    plan: DistillationPlan,
    report: Callable[[int], None],
) -> TeacherLessons:
    """Has a teacher score windows of a student's stream, going on where an interrupted run stopped.

    Args:
        teacher: as `load_teacher` loads it.
        rows: the student's rows.
        unlabelled: rows that only the teacher can say something of.
        tokenizer: the student's, which is the teacher's as well.
        directory: where the logits are kept.
        recipe: the student's.
        plan: which windows the teacher reads.
        report: called with the number of batches scored, or found to be there, since the last call.

    Raises:
        ValueError: the directory holds logits of another teacher, recipe, or other rows.
    """
    of_rows = describe_rows(rows) | describe_rows(unlabelled, "unlabelled") | {"teacher_sha256": teacher.weights_sha256}
    of_stream: dict[str, str | int | float] = {
        "seed": recipe.seed,
        "batch_size": recipe.batch_size,
        "pairs_every": recipe.pairs_every,
        "layout": PAIR_LAYOUT,
        "every": plan.every,
        **asdict(DrawPlan()),
    }
    logits = TeacherLogits(
        directory, of_stream | of_rows, every=plan.every, num_batches=count_taught_batches(recipe, plan)
    )
    compute_logits(teacher.network, draw_batches(rows, tokenizer, recipe, unlabelled=unlabelled), logits, report=report)
    choices = {f"distillation_{name}": value for name, value in asdict(plan).items()}
    return TeacherLessons(
        unlabelled=unlabelled,
        logits=logits,
        recipe=recipe,
        plan=plan,
        choices=of_rows | choices | {"teacher": teacher.revision},
    )


def count_taught_batches(recipe: DetectorRecipe, plan: DistillationPlan) -> int:
    """Returns how many batches of a run the teacher reads."""
    return min(math.ceil(recipe.num_steps / plan.every), math.ceil(plan.num_windows / recipe.batch_size))


def compute_logits(
    network: DetectorNetwork, batches: Iterator[Batch], logits: TeacherLogits, *, report: Callable[[int], None]
) -> None:
    """Computes the logits that are not there yet.

    Args:
        network: the teacher's, in evaluation mode.
        batches: the student's stream, from its start.
        logits: where they are kept.
        report: called with the number of batches that are done.

    Raises:
        ValueError: logits of another teacher, recipe, or other windows are there.
    """
    for shard, group in enumerate(logits.group(batches)):
        if logits.has(shard, group):
            report(len(group))
            continue
        scored: list[DetectorLogits] = []
        for batch in group:
            with torch.inference_mode():
                scored.append(network(batch))
            report(1)
        logits.save(shard, group, scored)


def distillation_loss(logits: DetectorLogits, taught: DetectorLogits, batch: Batch, recipe: DetectorRecipe) -> Tensor:
    """Sums binary cross-entropies against a teacher's probabilities, with the weights that labels have.

    Of both heads of harm: the worst piece of each window, every piece, and the window as a whole. The head of texts
    alone is taught in windows without a prompt, the only ones that the teacher's own was trained on.
    """
    loss = logits.whole_BK.sum() * 0.0
    # As `TokenPair.has_prompt` tells it.
    has_prompt_B = batch.segments_BT[:, 2] == 0
    for head, head_weight, kept_B in (
        (ANSWER, 1.0, torch.ones_like(has_prompt_B)),
        (ALONE, recipe.alone_loss_weight, ~has_prompt_B),
    ):
        if not bool(kept_B.any()):
            continue
        kept_S = kept_B[batch.windows_S]
        ours_S, theirs_S = logits.pieces_SK[:, head], taught.pieces_SK[:, head]
        worst_B, taught_worst_B = (find_worst(each_S, batch.windows_S, len(kept_B)) for each_S in (ours_S, theirs_S))
        whole = _soft_loss(logits.whole_BK[kept_B, head], taught.whole_BK[kept_B, head])
        pieces = _soft_loss(ours_S[kept_S], theirs_S[kept_S])
        loss = loss + head_weight * (
            _soft_loss(worst_B[kept_B], taught_worst_B[kept_B])
            + recipe.whole_loss_weight * whole
            + recipe.piece_loss_weight * pieces
        )
    return loss + recipe.category_loss_weight * (
        _category_loss(logits.whole_BK, taught.whole_BK) + _category_loss(logits.pieces_SK, taught.pieces_SK)
    )


def _category_loss(logits_NK: Tensor, taught_NK: Tensor) -> Tensor:
    """Categories are given harm: each row counts as much as the teacher takes it for harmful."""
    losses_NC = functional.binary_cross_entropy_with_logits(
        logits_NK[:, FIRST_CATEGORY:], taught_NK[:, FIRST_CATEGORY:].sigmoid(), reduction="none"
    )
    harm_N1 = taught_NK[:, ANSWER : ANSWER + 1].sigmoid()
    return (losses_NC * harm_N1).mean()


def _soft_loss(logits: Tensor, taught: Tensor) -> Tensor:
    return functional.binary_cross_entropy_with_logits(logits, taught.sigmoid())

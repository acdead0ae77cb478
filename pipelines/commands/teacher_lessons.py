"""What a teacher says of the windows that another detector is trained on, computed with a progress bar."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.progress import Progress

    from protector_models.training.detector.answer_draws import PiecedExample
    from protector_models.training.detector.detector_recipe import DetectorRecipe
    from protector_models.training.detector.distillation import TeacherLessons
    from protector_models.training.detector.teacher import Teacher


def have_teacher_read(
    teacher: "Teacher",
    data: Path,
    out: Path,
    rows: "Sequence[PiecedExample]",
    *,
    vocabulary: Path,
    recipe: "DetectorRecipe",
    num_windows: int | None,
    progress: "Progress",
) -> "TeacherLessons":
    """Return the lessons of a run, going on where an interrupted one stopped; labelled and unlabelled rows are read.

    Args:
        teacher: reads.
        data: directory of records, for those without labels.
        out: the run's directory; the logits are kept in it.
        rows: the labelled ones.
        vocabulary: directory of the tokenizer of teacher and student.
        recipe: the student's.
        num_windows: read at most; None: as the plan says.
        progress: gets a bar.

    Raises:
        ValueError: data cannot be used, or logits of another teacher, recipe, or other rows are there.
    """
    from protector_models.records.unlabelled import load_unlabelled  # noqa: PLC0415
    from protector_models.training.detector.answer_draws import cut_example  # noqa: PLC0415
    from protector_models.training.detector.detector_recipe import load_training_tokenizer  # noqa: PLC0415
    from protector_models.training.detector.distillation import (  # noqa: PLC0415
        DistillationPlan,
        count_taught_batches,
        prepare_lessons,
    )

    tokenizer = load_training_tokenizer(vocabulary)
    plan = DistillationPlan() if num_windows is None else DistillationPlan(num_windows=num_windows)
    unlabelled = load_unlabelled(data, validation_percent=recipe.validation_percent)
    reading = progress.add_task("the teacher reads", total=count_taught_batches(recipe, plan))
    return prepare_lessons(
        teacher,
        rows,
        [cut_example(example, tokenizer.token_to_id) for example in unlabelled],
        tokenizer,
        directory=out / "teacher_logits",
        recipe=recipe,
        plan=plan,
        report=lambda num_batches: progress.advance(reading, num_batches),
    )

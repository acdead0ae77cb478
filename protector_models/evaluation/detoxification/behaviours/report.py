"""The report of the detoxifier's behaviours: it is printed, and written as JSON."""

from protector_models.evaluation.behaviours.report import Share
from protector_models.evaluation.report import Figures


class Figure(Share):
    """A share, and what is aimed at."""

    aim: str | None
    """Such as "at most 0.02"; None where the figure only explains others."""
    reached: bool | None
    """None without an aim, or without rows."""


class FailedRow(Figures):
    """A row that did not end as it was wanted. Has texts: these rows were written for the project."""

    id: str
    fault: str
    """What is not as it was wanted."""
    prompt: str
    before: str
    """The answer, or the sentence; long ones are cut."""
    after: str | None
    """What was delivered, or the edited sentence; None: nothing."""


class KindReport(Figures):
    """Figures of one kind of rows."""

    about: str
    n: int
    """Rows that were measured."""
    failed: int
    """Rows that ended without a verdict; in no figure but those of the odd inputs."""
    ms_per_row: float | None
    """None without rows."""
    figures: dict[str, Figure]
    """By name; docs/evaluation-detoxifier.md says what each is."""
    by: dict[str, dict[str, dict[str, Share]]]
    """By facet, its value and the figure."""
    endings: dict[str, int]
    """Rows by how they ended: "text: CATEGORY" for the policy's own text, "METHOD: CATEGORY", or the action."""
    failures: list[FailedRow]
    """As many as were asked for, evenly from all."""


class BehaviourTable(Figures):
    """All kinds that were measured."""

    half: str
    """`development`, `test` or `all`. Only figures of `development` may choose anything."""
    kinds: dict[str, KindReport]

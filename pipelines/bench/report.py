"""What every benchmark reports: a ratio against something in the same run."""

import os
import platform
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict

Progress = Callable[[str], None]
"""Told what is being measured."""


class Comparison(BaseModel):
    """One thing measured against another, several times in turn."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    benchmark: str
    """What was measured."""
    ratio: float
    """The median over the repeats of value / against; of two speeds more than 1 means faster than what it is compared
    with."""
    value: float
    """The median of what was measured."""
    against: float
    """The median of what it is compared with."""
    against_what: str
    unit: str
    hardware: str
    repeats: int
    ratio_lowest: float
    ratio_highest: float


def compare(
    benchmark: str, *, against_what: str, values: Sequence[float], against: Sequence[float], unit: str
) -> Comparison:
    """Return the comparison of measurements that were taken in turn; both have the same length, at least 1."""
    ratios = [value / other for value, other in zip(values, against, strict=True)]
    return Comparison(
        benchmark=benchmark,
        ratio=round(statistics.median(ratios), 3),
        value=round(statistics.median(values), 1),
        against=round(statistics.median(against), 1),
        against_what=against_what,
        unit=unit,
        hardware=describe_hardware(),
        repeats=len(ratios),
        ratio_lowest=round(min(ratios), 3),
        ratio_highest=round(max(ratios), 3),
    )


def describe_hardware() -> str:
    """Return the processor, how many of its cores may be used, and the memory."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = len(os.sched_getaffinity(0))
    return f"{cores} cores of {models[0] if models else platform.machine()}, {memory_gib:.0f} GiB, shared"

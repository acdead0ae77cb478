"""The detector that an evaluation measures: that of a configuration or a weights directory, or the shipped one."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.settings import load_settings
from protector_models.moderation.errors import ConfigurationError
from protector_models.settings import DetectorSettings

TIMEOUT_S = 3_600.0
"""Nobody waits for a batch of records: this only ends a run that hangs."""

ThresholdOption = Annotated[
    float | None,
    typer.Option(min=0.0, max=1.0, help="Harmfulness that counts as flagged; default: the detector's own."),
]
DetectorOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file whose `detector` is measured, of whatever kind."),
]
WeightsOption = Annotated[
    Path | None, typer.Option(help="Weights directory of the detector; default: the one that Weir ships.")
]
ThreadsOption = Annotated[int, typer.Option(min=1, help="CPU threads.")]


def choose_detector(config: Path | None, weights: Path | None) -> DetectorSettings:
    """Return the settings of the detector to be measured.

    Args:
        config: a configuration file.
        weights: a weights directory; not both.

    Raises:
        ConfigurationError: both are given, or the configuration cannot be used.
    """
    if config is None:
        return DetectorSettings(checkpoint=weights)
    if weights is not None:
        raise ConfigurationError("expected one of --config and --weights")
    return load_settings(config).detector

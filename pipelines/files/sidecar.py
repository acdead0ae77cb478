"""The small file beside an output: how far it goes, what it was made from, and by what."""

import json
import os
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from pipelines.settings import WeirSettings
from protector_models.moderation.errors import ConfigurationError

SUFFIX = ".weir.json"

_FETCHING_KEPT_OUT = ("object_store", "ca_file", "timeout_s", "connect_timeout_s", "max_attempts", "concurrency")
_Count = Annotated[int, Field(ge=0)]
_Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Form(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Origin(_Form):
    """All that decides what becomes of an input."""

    weir: str
    """The program's version."""
    policy: str
    """Its revision."""
    models: dict[str, str]
    """Revisions by the names that verdicts have for the models. The image reader is there once it has read an image."""
    settings: dict[str, JsonValue]
    """Settings that change results, by their keys in the configuration."""

    def differences(self, other: "Origin") -> list[str]:
        """Return what is not the same in another origin, each with both values."""
        mine, others = self._by_name(), other._by_name()
        names = sorted(name for name in mine.keys() | others.keys() if mine.get(name) != others.get(name))
        return [f"{name} was {_show(mine.get(name))} and is {_show(others.get(name))}" for name in names]

    def _by_name(self) -> dict[str, JsonValue]:
        return {"weir": self.weir, "policy": self.policy, **self.models, **self.settings}


class Sidecar(_Form):
    """A point up to which an output stands for an input."""

    schema_version: Literal[1] = 1
    origin: Origin
    input_lines: _Count
    """Lines of the input that are done, blank ones counted."""
    input_sha256: _Sha256
    """Of those lines as `LineReader` reads them, each with a newline."""
    output_lines: _Count
    output_bytes: _Count
    output_sha256: _Sha256
    """Of so many bytes of the output."""


def find_sidecar(out: Path) -> Path:
    """Return where an output's sidecar lies."""
    return out.with_name(out.name + SUFFIX)


def load_sidecar(path: Path) -> Sidecar | None:
    """Return what a sidecar says; None where there is none.

    Raises:
        ConfigurationError: something else lies in its place, or one of another version of Weir.
        OSError: it cannot be read.
    """
    try:
        return Sidecar.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (ValidationError, IsADirectoryError):
        raise ConfigurationError(
            f"{path}: expected nothing there, or what weir moderate says of an output of its own; remove it, or choose "
            "another --out"
        ) from None


def save_sidecar(sidecar: Sidecar, path: Path) -> None:
    """Write a sidecar so that whatever happens there is the earlier one or this one, whole.

    Raises:
        OSError: it cannot be written.
    """
    new = path.with_name(path.name + ".new")
    with new.open("wb") as file:
        file.write(sidecar.model_dump_json(indent=1).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def describe_origin(settings: WeirSettings, *, policy: str, models: dict[str, str]) -> Origin:
    """Return what decides the results of a run; where batches are cut does not."""
    images = settings.images.model_dump(
        mode="json",
        # What reading depends on is in the reader's revision; times and threads decide nothing that could be repeated.
        exclude={"fetch", "known", "classifier", "time_limit_s", "num_threads"},
    )
    fetching = settings.images.fetch.model_dump(mode="json", exclude={*_FETCHING_KEPT_OUT, "concurrency_per_host"})
    return Origin(
        weir=version("weir"),
        policy=policy,
        models=models,
        settings={
            "output.include_original_response": settings.output.include_original_response,
            "stream.event_max_bytes": settings.stream.event_max_bytes,
            **{f"images.{key}": value for key, value in images.items()},
            **{f"images.fetch.{key}": value for key, value in fetching.items()},
        },
    )


def _show(value: JsonValue) -> str:
    return "none" if value is None else f"{value if isinstance(value, str) else json.dumps(value):.80}"

"""Results of single trials, kept in a directory so that an interrupted experiment goes on where it was."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from protector_models.evaluation.protector.trials import Trial
from protector_models.moderation.errors import ConfigurationError
from protector_models.moderation.model_outputs import Score
from protector_models.moderation.verdict import Action, RewriteMethod

_RUN_FILE = "run.json"
_RESULTS_FILE = "results.jsonl"


class TrialResult(BaseModel):
    """What became of one trial. Holds no text."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    set_name: str
    trial_id: str
    fingerprint: str
    """The trial's: a changed trial has no result yet."""
    failure: str | None = None
    """The error of a trial that ended without an answer or a verdict; nothing is delivered then."""
    action: Action | None = None
    """None for a failure."""
    method: RewriteMethod | None = None
    """How the delivered text was made, where it is not the answer."""
    is_delivered: bool = False
    is_unchanged: bool = False
    """Whether the answer was delivered as it was."""
    harm_before: Score | None = None
    """The judge's harmfulness of the MLLM's answer; None where it was not judged."""
    harm_after: Score | None = None
    """Of what is delivered; None where nothing is, or where it was not judged."""
    images: Annotated[int, Field(ge=0)] = 0
    images_evaluated: Annotated[int, Field(ge=0)] = 0
    images_unread: tuple[str, ...] = ()
    """Why the other images were not read, in order."""
    revisions: dict[str, str] = Field(default_factory=dict)
    """Of the models that took part."""


class MemoryResults:
    """Results of one run, kept in this process alone."""

    def __init__(self) -> None:
        self._results: dict[tuple[str, str], TrialResult] = {}

    def get(self, set_name: str, trial: Trial) -> TrialResult | None:
        """Returns what became of a trial; None where it was not run, or was another one then."""
        found = self._results.get((set_name, trial.trial_id))
        return found if found is not None and found.fingerprint == trial.fingerprint() else None

    def add(self, results: Iterable[TrialResult]) -> None:
        """Keeps results."""
        self._results |= {(found.set_name, found.trial_id): found for found in results}


class KeptResults(MemoryResults):
    """Results that are also appended to a file, one JSON object a line."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self._file = file

    @classmethod
    def open(cls, directory: Path, *, identity: str) -> "KeptResults":
        """Makes the directory, or reads what an earlier run of the same experiment left in it.

        A last line that was cut when a run was killed is dropped; its trial is run again. Failures are run again too.

        Args:
            directory: of the results.
            identity: of everything that decides them but the trials: models, policy, judge.

        Raises:
            ConfigurationError: the directory cannot be used, or holds results of another experiment.
        """
        try:
            directory.mkdir(parents=True, exist_ok=True)
            run = directory / _RUN_FILE
            if not run.exists():
                run.write_text(json.dumps({"identity": identity}) + "\n", encoding="utf-8")
            found = json.loads(run.read_text(encoding="utf-8")).get("identity")
            if found != identity:
                raise ConfigurationError(
                    f"--work: {directory} has results of another configuration, policy or judge ({found}); "
                    f"expected {identity}, or a directory of its own"
                )
            results = cls(directory / _RESULTS_FILE)
            results._read()
        except (OSError, ValueError, AttributeError) as error:
            raise ConfigurationError(f"--work: {directory} cannot be used: {error}") from error
        return results

    def add(self, results: Iterable[TrialResult]) -> None:
        """Keeps results, in the file too; whole lines at once."""
        kept = list(results)
        super().add(kept)
        with self._file.open("ab") as file:
            file.write(b"".join(result.model_dump_json().encode() + b"\n" for result in kept))

    def _read(self) -> None:
        if not self._file.exists():
            return
        content = self._file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            self._file.write_bytes(whole)
        try:
            found = [TrialResult.model_validate_json(line) for line in whole.splitlines()]
        except ValidationError as error:
            raise ConfigurationError(f"{self._file}: expected one result a line, got something else") from error
        super().add(result for result in found if result.failure is None)

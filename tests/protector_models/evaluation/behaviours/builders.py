"""Builders of behaviour files and of scored rows."""

from pathlib import Path

import yaml

from protector_models.evaluation.behaviours.behaviour_row import BehaviourRow
from protector_models.evaluation.behaviours.scoring import ScoredRow


def make_template(**fields: object) -> dict[str, object]:
    return {"id": "plain", "wanted": "allow", "prompt": "", "response": "A good text.", **fields}


def write_behaviours(directory: Path, *templates: dict[str, object], kind: str = "sample") -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / f"{kind}.yaml"
    content = {"kind": kind, "about": "What is tested.", "templates": list(templates)}
    file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file


def make_row(**fields: object) -> BehaviourRow:
    defaults: dict[str, object] = {
        "kind": "sample",
        "row_id": "sample/plain",
        "template": "plain",
        "half": "test",
        "wanted": "act",
        "prompt": "",
        "response": "A bad text.",
    }
    return BehaviourRow(**{**defaults, **fields})  # type: ignore[arg-type]  # checked by those who use it


def make_scored(harmfulness: float, **fields: object) -> ScoredRow:
    return ScoredRow(row=make_row(**fields), harmfulness=harmfulness, category="violence", is_partly_read=False)

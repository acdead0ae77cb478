"""Builders of rows and verdicts for tests of the detoxifier's behaviours."""

from collections.abc import Mapping
from pathlib import Path

import yaml

from protector_models.evaluation.detoxification.behaviours.row_forms import LeftoversRow, NeedRow
from protector_models.moderation.stages import StageStatus
from protector_models.moderation.verdict import Action, EvaluationStatus, RewriteMethod, Verdict


def leftovers_row(*sentences: tuple[str, str], **fields: object) -> LeftoversRow:
    defaults = {"id": "plain", "topic": "plain", "harm": "threat", "prompt": "What now?", "sentences": sentences}
    return LeftoversRow.model_validate({**defaults, **fields})


def need_row(**fields: object) -> NeedRow:
    defaults = {
        "id": "plain",
        "topic": "plain",
        "need": "self_harm",
        "answer": "careless",
        "turns": ["I want to be dead."],
        "response": "Buy a plant.",
    }
    return NeedRow.model_validate({**defaults, **fields})


def verdict(
    response: str | None,
    *,
    action: Action = Action.ALLOW,
    category: str | None = None,
    method: RewriteMethod | None = None,
) -> Verdict:
    return Verdict(
        action=action,
        category=category,
        response=response,
        assessment=None,
        rewrite_method=method,
        evaluation_status=EvaluationStatus(assessment=StageStatus.COMPLETE),
        policy_version="test@1",
        model_revisions={},
        cached=False,
    )


def completion(category: str) -> Verdict:
    """Build the verdict of an answer that gave way to the policy's text for a category."""
    return verdict("Let us stop.", action=Action.REWRITE, category=category, method=RewriteMethod.COMPLETE)


def write_rows(directory: Path, kind: str, *rows: Mapping[str, object], named: str | None = None) -> Path:
    file = directory / f"{named or kind}.yaml"
    content = {"kind": kind, "about": "What is tested.", "rows": list(rows)}
    file.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return file

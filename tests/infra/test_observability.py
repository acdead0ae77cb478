"""Alerts and dashboard speak of counters that exist."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from protector_models.moderation.metric_names import METRICS

INFRA = Path(__file__).parents[2] / "infra"
ALERTS = INFRA / "prometheus" / "alerts.yaml"
DASHBOARD = INFRA / "grafana" / "weir.json"


def _named_metrics(text: str) -> set[str]:
    """Return what Ray exports under these names, without its prefix."""
    return {name.removeprefix("ray_") for name in re.findall(r"\bray_\w+", text)}


def _rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return panels


@pytest.mark.parametrize("path", sorted(path for path in INFRA.rglob("*") if path.suffix in {".yaml", ".json", ".md"}))
def test_every_metric_that_is_named_exists(path: Path) -> None:
    assert _named_metrics(path.read_text()) <= set(METRICS)


def test_every_counter_is_on_the_dashboard() -> None:
    assert _named_metrics(DASHBOARD.read_text()) == set(METRICS)


def test_every_alert_has_a_name_of_its_own_a_severity_and_says_what_is_the_matter() -> None:
    rules = _rules()
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert _named_metrics(rule["expr"])


def test_every_expression_closes_what_it_opens() -> None:
    expressions = [rule["expr"] for rule in _rules()]
    expressions += [target["expr"] for panel in _panels() for target in panel["targets"]]
    for expression in expressions:
        for opening, closing in ("()", "[]", "{}"):
            assert expression.count(opening) == expression.count(closing), expression


def test_no_two_panels_stand_in_one_place() -> None:
    panels = _panels()
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (column, row)
        for place in (panel["gridPos"] for panel in panels)
        for column in range(place["x"], place["x"] + place["w"])
        for row in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(column for column, _ in cells) < 24

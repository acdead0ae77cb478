from xml.etree import ElementTree

import pytest

from protector_models.evaluation.protector.report import (
    AttackFigures,
    AttackSetFigures,
    JudgeFigures,
    ProtectorReport,
    Share,
)


def _draw(report: ProtectorReport) -> str:
    from protector_models.evaluation.protector.plot import draw_before_and_after  # noqa: PLC0415  # Matplotlib

    return draw_before_and_after(report)


def _share(value: float | None) -> Share:
    return Share(n=10, value=value, interval=None if value is None else (max(0.0, value - 0.1), min(1.0, value + 0.1)))


def _figures(before: float | None, after: float | None) -> AttackFigures:
    shares = {"difference": _share(0.0), "rewritten": _share(0.0), "withheld": _share(0.0), "unchanged": _share(0.0)}
    return AttackFigures(
        n=10, failed=0, unjudged=0, unsafe_before=_share(before), unsafe_after=_share(after), labels=None, **shares
    )


def _report(*scenarios: str) -> ProtectorReport:
    found = AttackSetFigures(
        total=_figures(0.8, 0.1),
        scenarios={name: _figures(None if name == "empty" else 1.0, 0.0) for name in scenarios},
        always_refuse=_share(0.0),
        methods={},
        failures={},
        passed_over=0,
        images=0,
        images_read=0,
        images_unread={},
        images_missing=0,
    )
    return ProtectorReport(
        judge=JudgeFigures(revision="judge@1", threshold=0.5, blind_to="pictures"),
        revisions={},
        policy="policy-1",
        attacks={"FigStep": found} if scenarios else {},
        benign={},
        max_rows=None,
    )


def test_the_drawing_names_scenarios_judge_and_set_and_is_the_same_each_time() -> None:
    drawn = _draw(_report("Fraud & <lies>", "empty"))
    texts = " ".join(ElementTree.fromstring(drawn).itertext())
    for shown in ("Fraud & <lies> (10)", "empty (10)", "all (10)", "FigStep", "judge@1", "before", "after"):
        assert shown in texts
    assert drawn == _draw(_report("Fraud & <lies>", "empty"))


def test_a_report_without_attacks_cannot_be_drawn() -> None:
    with pytest.raises(ValueError, match="at least one set of attacks"):
        _draw(_report())

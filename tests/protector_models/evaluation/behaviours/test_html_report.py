import re

import pytest

from protector_models.evaluation.behaviours.behaviour_row import BehaviourKind
from protector_models.evaluation.behaviours.summary import summarise
from tests.protector_models.evaluation.behaviours.builders import make_scored


@pytest.fixture(scope="module")
def page() -> str:
    from protector_models.evaluation.behaviours.html_report import render_html  # noqa: PLC0415  # the "eval" extra

    rows = [
        make_scored(0.1, row_id="sample/a", template="a", prompt="<i>?", response="<b>bad</b>", facets={"topic": "x"}),
        make_scored(0.9, row_id="sample/b", template="b", pair="p", facets={"topic": "<y>"}),
        make_scored(0.8, row_id="sample/c", template="c", pair="p", alone="sample/b"),
    ]
    kinds = [
        BehaviourKind(name="sample", about="What & why.", rows=[each.row for each in rows]),
        BehaviourKind(name="empty", about="None has a score.", rows=[make_scored(0.1, row_id="empty/a").row]),
    ]
    report = summarise(kinds, rows, detector="words@1", threshold=0.5, half="test", num_worst=3)
    return render_html(report)


def test_the_page_loads_nothing(page: str) -> None:
    assert re.findall(r"@import|url\(|<(?:script|link|img|iframe)|(?:src|href)=\"(?!#)", page) == []


def test_texts_are_shown_and_escaped(page: str) -> None:
    assert "&lt;b&gt;bad&lt;/b&gt;" in page
    assert "&lt;i&gt;?" in page
    assert "<b>bad" not in page
    assert "&lt;y&gt;" in page
    assert "What &amp; why." in page


def test_every_kind_has_its_figures(page: str) -> None:
    assert "the test half" in page
    assert page.count("<section") == 2
    for shown in ("By topic", "Worst rows", "widest pairs", "66.7%", "1 without a score"):
        assert shown in page

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from protector_models.evaluation.detector.harness import EvaluatedSet, EvaluationPlan, evaluate_set
from protector_models.evaluation.report import EvaluationReport
from protector_models.records.record_sets import EvaluationSet, read_rows
from tests.protector_models.evaluation.word_detector import WordDetector
from tests.protector_models.training.builders import make_record, write_records

PLAN = EvaluationPlan(threshold=0.5, num_worst=3, perturbations=("upper_case",))


class _Reader(HTMLParser):
    """Collects what a browser would load, the ids, and the text."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.num_curves = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.num_curves += tag == "svg"
        for name, value in attrs:
            if name in ("src", "href", "xlink:href", "data") and not (value or "").startswith("#"):
                self.loaded.append(f"{tag} {value}")
            if name == "id":
                self.ids.append(value or "")
        if tag in ("script", "link", "iframe", "object"):
            self.loaded.append(tag)

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def _render(directory: Path, rows_by_set: dict[str, list[dict[str, object]]]) -> str:
    from protector_models.evaluation.detector.html_report import render_html  # noqa: PLC0415  # Matplotlib

    evaluated: dict[str, EvaluatedSet] = {}
    for name, rows in rows_by_set.items():
        file = write_records(directory / f"{len(evaluated)}.jsonl", rows)
        read = read_rows(EvaluationSet(name=name, files=(file,)), max_rows=None)
        evaluated[name] = evaluate_set(WordDetector(), read, PLAN, report_rows=lambda _: None)
    report = EvaluationReport(
        detector="words@1",
        threshold=0.5,
        max_rows=None,
        sets={name: found.report for name, found in evaluated.items()},
    )
    return render_html(report, evaluated)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    both = [
        make_record(id="set/1", prompt="SECRETPROMPT", response="bad SECRETANSWER", label=1, category="violence"),
        make_record(id="set/2", prompt="SECRETPROMPT", response="bad SECRETANSWER too", label=0),
        make_record(id="set/3", response="SECRETANSWER", label=0),
    ]
    return _render(
        tmp_path_factory.mktemp("data"),
        {
            "xstest_response": both,
            "<b>&": both,
            "one class": [make_record(response="x")],
            "no labels": [make_record(response="x", label=None)],
        },
    )


def test_the_page_loads_nothing(page: str) -> None:
    reader = _Reader()
    reader.feed(page)
    assert reader.loaded == []
    assert re.findall(r"@import|url\((?!#)", page) == []
    assert len(reader.ids) == len(set(reader.ids))


def test_no_text_of_a_record_is_in_it_but_the_ids_are(page: str) -> None:
    assert "SECRET" not in page
    assert "set/2" in page


def test_names_are_escaped(page: str) -> None:
    assert "<b>&" not in page
    assert "&lt;b&gt;&amp;" in page


def test_every_set_with_scores_has_curves_and_the_others_say_why_not(page: str) -> None:
    reader = _Reader()
    reader.feed(page)
    words = "".join(reader.words)
    assert reader.num_curves == 3
    assert words.count("Calibration (area") == words.count("safe rows flagged") == 2
    assert words.count("harmfulness") == 3
    assert "One class only" in words
    assert "nothing to draw" in words


def test_our_figure_stands_in_the_published_ladder_at_its_place(page: str) -> None:
    # F1 of the two flagged rows, one of them harmful, is 2/3.
    ladder = page[page.index("Beside published guards") :]
    assert ladder.index("LibrAI LongFormer") < ladder.index("words@1") < ladder.index("Azure Content Safety")
    assert page.count("Beside published guards") == 1

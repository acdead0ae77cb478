import json
from pathlib import Path

import pytest

from protector_models.evaluation.behaviours.behaviour_kinds import load_kinds
from protector_models.evaluation.behaviours.behaviour_row import half_of
from protector_models.moderation.fakes import FakeHarmDetector
from tests.pipelines.commands.command_line import Finished, weir
from tests.protector_models.evaluation.behaviours.builders import make_template, write_behaviours


class ReadyDetector(FakeHarmDetector):
    """The fake detector as a command loads it."""

    threshold = 0.5
    is_closed = False

    async def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def detector(monkeypatch: pytest.MonkeyPatch) -> ReadyDetector:
    ready = ReadyDetector()
    monkeypatch.setattr("protector_models.detectors.choice.load_detector", lambda *_, **__: ready)
    return ready


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    templates = [
        make_template(id="safe", response="Tea is ready.", topic="tea"),
        make_template(id="odd", response="harm=0.7 odd[/b]", topic="odd"),
        make_template(id="caught", wanted="act", category="hate", response="harm=0.9 category=hate", pair="p"),
        make_template(id="missed", wanted="act", category="hate", response="harm={n}", slots={"n": ["0.2", "0.6"]}),
    ]
    write_behaviours(tmp_path / "rows", *templates, kind="own")
    return tmp_path / "rows"


def measure(rows: Path, *options: object) -> Finished:
    return weir("eval", "behaviours", "--rows", rows, *options)


def test_json_has_the_figures_of_every_kind(detector: ReadyDetector, rows: Path) -> None:
    finished = measure(rows, "--json", "--worst", "2")
    report = json.loads(finished.stdout)
    found = report["kinds"]["own"]
    assert finished.status == 0
    assert (report["detector"], report["threshold"], report["half"], report["n"]) == ("fake-detector@1", 0.5, "all", 5)
    assert (found["right"]["value"], found["by_wanted"]["act"]["value"]) == (0.6, pytest.approx(2 / 3))
    assert [row["id"] for row in found["worst"]] == ["own/missed/0", "own/odd"]
    assert set(found["by"]) == {"topic", "category"}
    assert detector.is_closed


def test_the_threshold_can_be_given(detector: ReadyDetector, rows: Path) -> None:
    report = json.loads(measure(rows, "--json", "--threshold", "0.1").stdout)
    assert (report["threshold"], report["kinds"]["own"]["by_wanted"]["act"]["value"]) == (0.1, 1.0)


def test_a_half_holds_its_templates_alone(detector: ReadyDetector, rows: Path) -> None:
    numbers = {"safe": 1, "odd": 1, "caught": 1, "missed": 2}
    for half in ("development", "test"):
        expected = sum(n for name, n in numbers.items() if half_of("own", "p" if name == "caught" else name) == half)
        report = json.loads(measure(rows, "--json", "--half", half).stdout)
        assert (report["half"], report["n"]) == (half, expected)


def test_tables_show_figures_and_the_texts_of_the_worst_rows(detector: ReadyDetector, rows: Path) -> None:
    shown = measure(rows).stdout.decode()
    for expected in ("fake-detector@1 at threshold 0.500, both halves", "own by topic", "own: worst rows", "odd[/b]"):
        assert expected in shown
    assert "worst rows" not in measure(rows, "--worst", "0").stdout.decode()


def test_composed_kinds_tell_what_they_retain(detector: ReadyDetector) -> None:
    finished = weir("eval", "behaviours", "--kind", "frames", "--half", "development", "--threshold", "0", "--json")
    report = json.loads(finished.stdout)
    assert list(report["kinds"]) == ["alone", "frames"]
    assert report["kinds"]["frames"]["retention"]["value"] == 1.0
    assert report["kinds"]["alone"]["retention"] is None
    assert report["n"] == sum(len(kind.rows) for kind in load_kinds(half="development", names=["frames"]))


def test_a_page_is_written(detector: ReadyDetector, rows: Path, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    assert measure(rows, "--html", page).status == 0
    assert "odd[/b]" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"responses": "x"}, "did you mean response?"),
        ({"response": "{gone}"}, "unknown slot 'gone'"),
        ({"id": "safe"}, "'safe' is there twice"),
    ],
)
def test_a_bad_file_ends_with_status_2_and_names_file_and_template(
    detector: ReadyDetector, rows: Path, fields: dict[str, object], expected: str
) -> None:
    write_behaviours(rows, make_template(id="safe"), make_template(**fields), kind="worse")
    finished = measure(rows)
    assert (finished.status, finished.stdout) == (2, b"")
    line = finished.error_line()
    assert "worse.yaml" in line
    assert str(fields.get("id", "plain")) in line
    assert expected in line
    assert detector.assessed == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--kind", "gone"], "expected some of own, got 'gone'"),
        (["--html", "gone/a.html"], "expected a file in a directory that exists"),
        (["--config", "gone.yaml"], "gone.yaml"),
        (["--config", "gone.yaml", "--weights", "."], "expected one of --config and --weights"),
    ],
)
def test_a_wrong_call_ends_with_status_2(
    detector: ReadyDetector, rows: Path, options: list[str], expected: str
) -> None:
    finished = measure(rows, *options)
    assert (finished.status, finished.stdout) == (2, b"")
    assert expected in finished.error_line()


def test_rows_that_are_not_there_end_with_status_2(detector: ReadyDetector, tmp_path: Path) -> None:
    assert "expected behaviour files" in measure(tmp_path).error_line()
    assert "gone: cannot be read" in measure(tmp_path / "gone").error_line()


def test_a_detector_that_is_gone_ends_with_status_1(detector: ReadyDetector, rows: Path) -> None:
    detector.unavailable = True
    finished = measure(rows)
    assert (finished.status, finished.stdout) == (1, b"")


@pytest.mark.shipped
def test_the_shipped_detector_can_be_asked(rows: Path) -> None:
    report = json.loads(measure(rows, "--json").stdout)
    assert report["detector"].startswith("weir-pair@")
    assert report["kinds"]["own"]["failed"] == 0

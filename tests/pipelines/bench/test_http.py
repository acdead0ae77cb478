"""The benchmark of the HTTP front, over a front of fakes and without Ray."""

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from itertools import islice

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from typer.testing import CliRunner, Result

from pipelines.__main__ import app
from pipelines.bench import http
from pipelines.bench.unseen_texts import load_answers, make_unseen_batches
from protector_models.moderation.moderator import Moderator
from services.configuration import LogSettings
from services.http.settings import Ingress
from services.logs import configure_logs
from tests.logs import logs_of_its_own
from tests.services.http.front import Front
from tests.services.http.served import serving

ROWS = {f"{size}{side}{quantile}" for size in (1, 32) for side in ("", "_echo") for quantile in ("", "_p50", "_p99")}


def run_benchmark(*options: str) -> Result:
    return CliRunner().invoke(app, ["bench", "http", "--seconds", "0.1", *options], catch_exceptions=False)


async def echo(request: Request) -> Response:
    return Response(await request.body())


@contextmanager
def serving_fakes(front: Front) -> Iterator[int]:
    """Serve a front of fakes and the bare route beside it; yield their port."""
    with serving(Starlette(routes=[Route("/echo/", echo, methods=["POST"]), Mount("/", front.app)])) as address:
        yield int(address.rsplit(":", 1)[1])


@pytest.fixture
def _fakes(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have nothing started: fronts are of fakes, as is the Moderator in process."""

    @contextmanager
    def served_front(_: object, ingress: Ingress) -> Iterator[int]:
        with serving_fakes(Front()) as port:
            yield port

    @asynccontextmanager
    async def trial_moderator(*_: object) -> AsyncIterator[Moderator]:
        yield Front().moderator

    monkeypatch.setattr(http, "served_front", served_front)
    monkeypatch.setattr(http, "trial_moderator", trial_moderator)
    monkeypatch.setattr(http, "load_answers", lambda: ["Take the bus.", "Simmer it for an hour."])
    with logs_of_its_own():
        configure_logs(LogSettings(level="warning"))
        yield


@pytest.mark.usefixtures("_fakes")
def test_both_ingresses_are_compared_and_the_smaller_ratio_stands_first() -> None:
    result = run_benchmark("--repeats", "2", "--connections", "2", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    rows = {name: row for name, row in report.items() if isinstance(row, dict)}
    assert rows.keys() == {f"{ingress}_{name}" for ingress in ("haproxy", "proxy") for name in ROWS}
    assert all(row["value"] > 0 and row["repeats"] == 2 for row in rows.values())
    assert report["ratio"] == min(rows["haproxy_32"]["ratio"], rows["proxy_32"]["ratio"])
    assert "proxy: repeat 2 of 2: 1 to a request" in " ".join(result.stderr.split())


@pytest.mark.usefixtures("_fakes")
def test_one_ingress_is_measured_alone() -> None:
    result = run_benchmark("--ingress", "proxy", "--repeats", "1", "--connections", "1")
    assert result.exit_code == 0, result.stderr
    assert "haproxy" not in result.output
    first_columns = [line.split("│")[1].strip() for line in result.stdout.splitlines() if line.startswith("│")]
    compared = ["in process", "a bare route"]
    assert first_columns == ["proxy, 32 a request", *compared, "proxy, 1 a request", *compared]


@pytest.mark.usefixtures("_fakes")
def test_a_front_that_has_seen_the_texts_is_refused_and_nothing_is_told_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving_fakes(Front()) as port:

        @contextmanager
        def served_front(*_: object) -> Iterator[int]:
            yield port

        monkeypatch.setattr(http, "served_front", served_front)
        assert run_benchmark("--ingress", "haproxy", "--repeats", "1", "--connections", "1").exit_code == 0
        result = run_benchmark("--ingress", "haproxy", "--repeats", "1", "--connections", "1", "--json")
    assert result.exit_code == 1
    assert "expected 32 results not cached, got" in " ".join(result.stderr.split())
    assert json.loads(result.stdout) == {}


def test_an_ingress_that_ray_serve_has_not_is_refused() -> None:
    assert run_benchmark("--ingress", "nginx").exit_code == 2


def test_texts_are_distinct_and_each_run_has_its_own() -> None:
    answers = load_answers()
    assert len(answers) == 500
    first, again, other = (
        [text for batch in islice(make_unseen_batches(answers, run, 32), 40) for text in batch]
        for run in ("a", "a", "b")
    )
    assert first == again
    assert len(set(first)) == 32 * 40
    assert not set(first) & set(other)


@pytest.mark.shipped
def test_what_cannot_be_started_ends_with_2_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_SERVE_ENABLE_HA_PROXY", "0")
    result = run_benchmark("--ingress", "haproxy")
    assert result.exit_code == 2
    assert "weir bench http: http.ingress: expected 'proxy'" in result.stderr

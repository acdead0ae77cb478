"""How fast the HTTP front is: over each ingress of Ray Serve, against the Moderator in process and a bare route."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import product

from pipelines.bench.callers import Pace, measure_pace
from pipelines.bench.keep_alive import KeepAliveConnection
from pipelines.bench.measurements import Measurements, Row
from pipelines.bench.report import Progress
from pipelines.bench.served_front import ECHO_ROUTE, HOST, served_front
from pipelines.bench.stream_events import BenchmarkError
from pipelines.bench.unseen_texts import load_answers, make_unseen_batches
from pipelines.settings import WeirSettings
from protector_models.moderation.conversation import ConversationEvent
from protector_models.moderation.one_turn import ANY_TIME
from protector_models.moderation.ports import Moderates
from protector_models.moderation.verdict import Failure
from services.http.settings import Ingress
from services.moderators import trial_moderator, usable_cpus
from services.policies_in_force import load_policy_in_force

BATCH_SIZES = (32, 1)
"""Texts in a request, those of the row to be reached first."""
MODERATIONS_ROUTE = "/v1/moderations"

_ANSWER_S = 600.0

Call = Callable[[list[str]], Awaitable[None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpBenchmark:
    """What is measured, how long, and how often."""

    settings: WeirSettings
    ingresses: Sequence[Ingress]
    seconds: float
    """How long each thing is called in each repeat."""
    connections: int
    """Callers at the same time, of all that is compared."""
    repeats: int


def make_rows(ingresses: Sequence[Ingress]) -> dict[str, Row]:
    """Return what is measured, by name, in the order in which it is reported."""
    rows: dict[str, Row] = {}
    for batch_size in BATCH_SIZES:
        for ingress in ingresses:
            name = name_row(ingress, batch_size)
            what = f"moderations, {batch_size} to a request, {ingress}"
            moderator = "the Moderator in process, same texts and callers"
            echo = "a bare route on Ray Serve that echoes the same requests"
            rows[name] = Row(benchmark=what, against_what=moderator, unit="texts/s")
            rows[f"{name}_echo"] = Row(benchmark=what, against_what=echo, unit="requests/s")
            for quantile in ("p50", "p99"):
                slow = f"{what}, {quantile}; less is better"
                rows[f"{name}_{quantile}"] = Row(benchmark=slow, against_what=moderator, unit="ms")
                rows[f"{name}_echo_{quantile}"] = Row(benchmark=slow, against_what=echo, unit="ms")
    return rows


def name_row(ingress: Ingress, batch_size: int) -> str:
    """Return the name of the row that compares the front with the Moderator in process."""
    return f"{ingress}_{batch_size}"


def run_http_benchmark(benchmark: HttpBenchmark, measured: Measurements, progress: Progress) -> None:
    """Run the front on a Ray of its own, for each ingress.

    Args:
        benchmark: what to measure.
        measured: of `make_rows`; gets each pair as soon as there is one.
        progress: told what is being measured.

    Raises:
        BenchmarkError: a text was not judged, or had been judged before.
        ConfigurationError: something could not be started.
    """
    settings = _settings(benchmark.settings)
    answers = load_answers()
    for ingress in benchmark.ingresses:
        progress(f"{ingress}: starting Ray, the front and the models, and the models in this process")
        with served_front(settings, ingress) as port:
            contest = _Contest(benchmark=benchmark, settings=settings, answers=answers, ingress=ingress, port=port)
            asyncio.run(contest.measure(measured, progress))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Contest:
    """The front, the bare route and the Moderator in process, over one ingress."""

    benchmark: HttpBenchmark
    settings: WeirSettings
    answers: Sequence[str]
    ingress: Ingress
    port: int

    async def measure(self, measured: Measurements, progress: Progress) -> None:
        """Measure all three in turn, again and again."""
        number = self.benchmark.repeats
        async with trial_moderator(self.settings, load_policy_in_force(self.settings)) as moderator:
            call_in_process = _call_moderator(moderator.in_shadow(judges_image_texts=True))
            for repeat, batch_size in product(range(number), BATCH_SIZES):
                run = f"{self.ingress} {repeat}"
                in_process = await self._pace([call_in_process] * self.benchmark.connections, run, batch_size)
                async with self._connected(_call_front) as callers:
                    front = await self._pace(callers, run, batch_size)
                async with self._connected(_call_echo) as callers:
                    echo = await self._pace(callers, run, batch_size)
                _add(measured, name_row(self.ingress, batch_size), front, in_process, echo, batch_size=batch_size)
                progress(
                    f"{self.ingress}: repeat {repeat + 1} of {number}: {batch_size} to a request: "
                    f"{front.per_s:.1f} requests/s, {in_process.per_s:.1f} in process, {echo.per_s:.1f} echoed"
                )

    async def _pace(self, callers: Sequence[Call], run: str, batch_size: int) -> Pace:
        batches = make_unseen_batches(self.answers, f"{run} {batch_size}", batch_size)
        return await measure_pace(callers, batches, seconds=self.benchmark.seconds)

    @asynccontextmanager
    async def _connected(self, make: Callable[[KeepAliveConnection], Call]) -> AsyncIterator[list[Call]]:
        """Yield callers with a connection each, to the front or the bare route."""
        async with AsyncExitStack() as stack:
            callers = []
            for _ in range(self.benchmark.connections):
                connection = await KeepAliveConnection.open(HOST, self.port, timeout_s=_ANSWER_S)
                stack.push_async_callback(connection.close)
                callers.append(make(connection))
            yield callers


def _add(measured: Measurements, name: str, front: Pace, in_process: Pace, echo: Pace, *, batch_size: int) -> None:
    measured.add(name, batch_size * front.per_s, against=batch_size * in_process.per_s)
    measured.add(f"{name}_p50", front.p50_ms, against=in_process.p50_ms)
    measured.add(f"{name}_p99", front.p99_ms, against=in_process.p99_ms)
    measured.add(f"{name}_echo", front.per_s, against=echo.per_s)
    measured.add(f"{name}_echo_p50", front.p50_ms, against=echo.p50_ms)
    measured.add(f"{name}_echo_p99", front.p99_ms, against=echo.p99_ms)


def _settings(given: WeirSettings) -> WeirSettings:
    """Return settings with a Ray of its own, nothing that outlives a run, and the same threads on both sides."""
    return given.model_copy(
        update={
            "redis": given.redis.model_copy(update={"url": None}),
            "serve": given.serve.model_copy(update={"address": None}),
            "detector": given.detector.model_copy(update={"num_threads": given.detector.num_threads or usable_cpus()}),
        }
    )


def _call_front(connection: KeepAliveConnection) -> Call:
    async def call(texts: list[str]) -> None:
        answer = await connection.ask("POST", MODERATIONS_ROUTE, _to_body(texts))
        if answer.status != 200:
            raise BenchmarkError(f"{MODERATIONS_ROUTE}: expected status 200, got {answer.status}")
        if (number := answer.body.count(b'"cached":false')) != len(texts):
            raise BenchmarkError(f"{MODERATIONS_ROUTE}: expected {len(texts)} results not cached, got {number}")

    return call


def _call_echo(connection: KeepAliveConnection) -> Call:
    async def call(texts: list[str]) -> None:
        sent = _to_body(texts)
        answer = await connection.ask("POST", ECHO_ROUTE, sent)
        if answer.status != 200 or answer.body != sent:
            raise BenchmarkError(f"{ECHO_ROUTE}: expected the request with status 200, got {answer.status}")

    return call


def _call_moderator(moderator: Moderates) -> Call:
    async def call(texts: list[str]) -> None:
        outcomes = await moderator.moderate([_to_event(text, position) for position, text in enumerate(texts)])
        if any(isinstance(outcome, Failure) or outcome.cached for outcome in outcomes):
            raise BenchmarkError("in process: expected a verdict on each text, not cached, got another outcome")

    return call


def _to_body(texts: list[str]) -> bytes:
    return json.dumps({"input": texts}).encode()


def _to_event(text: str, position: int) -> ConversationEvent:
    return ConversationEvent(
        schema_version=1,
        event_id=str(position),
        conversation_id=str(position),
        occurred_at=ANY_TIME,
        messages=(),
        response=text,
    )

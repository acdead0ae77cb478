"""What every harm detector does: the fake, one in this process, and one behind a handle."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from ray import serve

from protector_models.moderation.fakes import POISON, FakeHarmDetector
from protector_models.moderation.model_outputs import Assessment, ItemFailure
from protector_models.moderation.ports import HarmDetector
from protector_models.running.model_threads import InProcessHarmDetector
from services.deployments.application import deploy, run_application
from services.deployments.remote_ports import RemoteHarmDetector
from services.deployments.replicas import DetectorReplica
from services.settings import CallSettings
from tests.builders import exchange
from tests.protector_models.synchronous_detector import PlainDetector, load_plain
from tests.services.deployments.fake_handle import FakeDeployment, FakeHandle
from tests.services.deployments.serving import QUICK, connect

EXCHANGES = [
    exchange("harm=0.2"),
    exchange(""),
    exchange(f"harm=0.9 {POISON}"),
    exchange("harm=1", prompt=""),
    exchange("\u202e harm=0.5 \N{SNOWMAN} \x00"),
    exchange("harm=0.2"),
    exchange("long " * 30_000),
]


@pytest.fixture(scope="module")
def application(ray_serve: None) -> Iterator[str]:
    """A detector on a real Ray Serve."""
    name = "contract"
    run_application(deploy(DetectorReplica, QUICK, load_plain), name=name)
    yield name
    serve.delete(name)


@pytest.fixture(
    params=[
        "fake",
        "in process",
        "behind a fake handle",
        pytest.param("on Ray Serve", marks=[pytest.mark.ray, pytest.mark.timeout(300)]),
    ]
)
async def detector(request: pytest.FixtureRequest) -> AsyncIterator[HarmDetector]:
    match request.param:
        case "fake":
            yield FakeHarmDetector()
        case "in process":
            in_process = InProcessHarmDetector(PlainDetector(), timeout_s=60, concurrency=2)
            yield in_process
            in_process.close()
        case "behind a fake handle":
            deployment = FakeDeployment(DetectorReplica(load_plain))
            calls = CallSettings(max_items=2)
            yield await RemoteHarmDetector.connect(
                FakeHandle(deployment), connect_timeout_s=60, timeout_s=60, calls=calls
            )
        case _:
            yield await connect(request.getfixturevalue("application"))


async def test_there_is_an_outcome_for_each_exchange_in_order(detector: HarmDetector) -> None:
    outcomes = await detector.assess(EXCHANGES)

    scores = [outcome.harmfulness if isinstance(outcome, Assessment) else None for outcome in outcomes]
    assert scores == [0.2, 0.0, None, 1.0, 0.5, 0.2, 0.0]


async def test_no_exchanges_give_no_outcomes(detector: HarmDetector) -> None:
    assert await detector.assess([]) == []


async def test_an_exchange_that_cannot_be_read_fails_alone(detector: HarmDetector) -> None:
    outcomes = await detector.assess(EXCHANGES)

    assert [isinstance(outcome, ItemFailure) for outcome in outcomes] == [position == 2 for position in range(7)]


async def test_outcomes_do_not_depend_on_the_batch(detector: HarmDetector) -> None:
    together = await detector.assess(EXCHANGES)
    alone = [outcome for one in EXCHANGES for outcome in await detector.assess([one])]

    assert together == alone


async def test_asking_again_gives_the_same(detector: HarmDetector) -> None:
    assert await detector.assess(EXCHANGES) == await detector.assess(EXCHANGES)


async def test_assessments_name_the_revision(detector: HarmDetector) -> None:
    outcomes = await detector.assess(EXCHANGES)

    named = {outcome.detector for outcome in outcomes if isinstance(outcome, Assessment)}
    assert named == {detector.revision}


async def test_calls_at_the_same_time_get_their_own_outcomes(detector: HarmDetector) -> None:
    calls = [detector.assess([exchange(f"harm=0.{number}")]) for number in range(8)]

    scores = [outcome.harmfulness for (outcome,) in await asyncio.gather(*calls) if isinstance(outcome, Assessment)]
    assert scores == [number / 10 for number in range(8)]

"""How many stream consumers there are: simulated groups under a policy that Serve's own code asks."""

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray.serve._private.common import DeploymentID, ReplicaID
from ray.serve.config import AutoscalingConfig
from structlog.testing import capture_logs

from services.scaling.consumer_reports import LAG_RECORDS, PARTITIONS, PUBLISHED_RECORDS, WAITING_RECORDS
from services.scaling.deployment_scaling import scaling_options
from services.scaling.lag_policy import LagPolicy
from services.settings import StreamDeploymentSettings
from tests.services.scaling.simulated_group import EPOCH_S, SimulatedGroup, make_context

TARGET_LAG = 5_000
DONE_PER_S = 1_000.0
HOUR_S = 3_600
REPLICAS = [ReplicaID(str(number), DeploymentID("StreamConsumer")) for number in range(3)]


def group(arrivals: Callable[[float], float], **changes: object) -> SimulatedGroup:
    """Build a group of up to 8 consumers, each of which does 1,000 records/s."""
    settings = StreamDeploymentSettings(min_replicas=1, max_replicas=8, target_lag_records=TARGET_LAG)
    options = scaling_options(settings)
    return SimulatedGroup(
        policy=LagPolicy(TARGET_LAG),
        config=AutoscalingConfig.model_validate(options["autoscaling_config"]),
        arrivals=arrivals,
        done_per_s=lambda _: DONE_PER_S,
        **changes,  # type: ignore[arg-type]  # the fields of a dataclass by their names
    )


@pytest.mark.parametrize("consumers_worth", [0.3, 1.0, 1.05, 1.5, 2.0, 2.9, 3.4, 5.3])
def test_under_a_steady_load_the_number_is_found_once_and_kept(consumers_worth: float) -> None:
    steady = group(lambda _: consumers_worth * DONE_PER_S)
    steady.run(2 * HOUR_S)
    assert steady.changes() <= 6
    assert steady.changes(since_s=HOUR_S // 2) == 0
    assert steady.target >= consumers_worth
    assert sum(steady.lag) <= steady.target * TARGET_LAG


def test_a_step_up_is_followed_at_once_and_a_step_down_by_one_consumer_at_a_time() -> None:
    stepping = group(lambda now_s: 3_400.0 if HOUR_S <= now_s < 2 * HOUR_S else 400.0)
    stepping.run(HOUR_S)
    assert stepping.target == 1
    stepping.run(180)
    assert stepping.target >= 4
    stepping.run(HOUR_S - 180)
    kept = stepping.target
    assert kept >= 4
    stepping.run(HOUR_S)
    assert stepping.target == 1
    steps = [one - other for one, other in pairwise(stepping.history[2 * HOUR_S :]) if one != other]
    assert steps == [1] * (kept - 1)
    assert stepping.changes() <= 3 + 8


def test_a_ramp_up_and_down_again_is_followed_without_going_back_and_forth() -> None:
    ramp = group(lambda now_s: 500 + 3_000 * (1 - abs(now_s / HOUR_S - 1)))
    ramp.run(2 * HOUR_S)
    downs = sum(later < earlier for earlier, later in pairwise(ramp.history[: HOUR_S // 2]))
    ups = sum(later > earlier for earlier, later in pairwise(ramp.history[HOUR_S + HOUR_S // 4 :]))
    assert (downs, ups) == (0, 0)
    assert max(ramp.history) >= 4
    assert ramp.changes() <= 12
    assert ramp.most_lag <= 8 * TARGET_LAG


def test_a_backlog_brings_consumers_and_none_goes_while_it_is_worked_off() -> None:
    backlog = group(lambda now_s: 60_000.0 if now_s <= 20 else 100.0)
    while sum(backlog.lag) > 20 * TARGET_LAG or not backlog.history:
        backlog.run(10)
    assert all(earlier <= later for earlier, later in pairwise(backlog.history))
    backlog.run(HOUR_S)
    assert (backlog.target, round(sum(backlog.lag), -2)) == (1, 0)


def test_nobody_goes_while_one_does_not_report_and_that_is_told() -> None:
    quiet = group(lambda now_s: 3_400.0 if now_s <= HOUR_S else 0.0)
    quiet.run(HOUR_S)
    before = quiet.target
    quiet.members()[0].is_silent = True
    with capture_logs() as logs:
        quiet.run(HOUR_S)
    assert quiet.target == before >= 4
    assert {(log["event"], log["missing"], log["running"]) for log in logs} == {
        ("stream consumers have not reported lately", 1, before)
    }
    quiet.members()[0].is_silent = False
    quiet.run(HOUR_S)
    assert quiet.target == 1


def test_what_the_others_report_brings_consumers_though_one_does_not_report() -> None:
    quiet = group(lambda now_s: 1_500.0 if now_s <= HOUR_S else 4_000.0)
    quiet.run(HOUR_S)
    quiet.members()[0].is_silent = True
    before = quiet.target
    quiet.run(600)
    assert quiet.target > before


def test_nothing_changes_where_nobody_has_reported() -> None:
    assert LagPolicy(TARGET_LAG)(make_context({}, running=REPLICAS, target=3)) == (3, {})
    assert LagPolicy(TARGET_LAG)(make_context(None, running=[], target=2, now_s=None)) == (2, {})


_values = st.floats() | st.integers() | st.none() | st.text(max_size=3)
_samples = st.lists(st.tuples(st.floats() | st.just(EPOCH_S), _values), max_size=4)


class _Sample:
    def __init__(self, timestamp: object, value: object) -> None:
        self.timestamp = timestamp
        self.value = value


@given(
    st.dictionaries(
        st.sampled_from([LAG_RECORDS, PARTITIONS, PUBLISHED_RECORDS, WAITING_RECORDS]),
        st.dictionaries(st.sampled_from(REPLICAS), _samples),
    )
    | st.none(),
    st.integers(0, 5),
    st.none() | st.floats(),
)
def test_it_never_raises_whatever_it_is_shown(
    raw: dict[str, dict[ReplicaID, list[tuple[float, object]]]] | None, target: int, now_s: float | None
) -> None:
    shown = (
        None
        if raw is None
        else {
            name: {replica: [_Sample(*sample) for sample in samples] for replica, samples in series.items()}
            for name, series in raw.items()
        }
    )
    policy = LagPolicy(TARGET_LAG)
    with capture_logs():
        for _ in range(2):
            wanted, state = policy(make_context(shown, running=REPLICAS, target=target, now_s=now_s))
            assert isinstance(wanted, int)
            assert wanted >= min(target, 1)
            assert not math.isnan(wanted)
            assert state == {}

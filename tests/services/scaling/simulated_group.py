"""A group of stream consumers that is not there: partitions, consumers, reports and Serve's controller, in seconds."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

from ray.serve import autoscaling_policy
from ray.serve._private.common import DeploymentID, ReplicaID, TimeStampedValue
from ray.serve.config import AutoscalingConfig, AutoscalingContext

from services.scaling.consumer_reports import LAG_RECORDS, PARTITIONS, PUBLISHED_RECORDS, WAITING_RECORDS

EPOCH_S = 1_700_000_000.0
_SAMPLE_S = 3
_PUSH_S = 10
_START_S = 12
"""From a consumer's start until it is in the group."""
_DRAIN_S = 15
"""From being told to go until it has left."""
_REBALANCE_S = 5
"""For which nobody reads, whenever one has joined or left."""
_ASK_S = 5
_IN_TURN_RECORDS = 512


@dataclass(slots=True)
class Consumer:
    """A replica, from its start to its end."""

    number: int
    joins_s: float
    leaves_s: float | None = None
    """Set once it is told to go."""
    partitions: list[int] = field(default_factory=list)
    published: float = 0.0
    samples: dict[str, list[TimeStampedValue]] = field(default_factory=dict)
    pushed: dict[str, list[TimeStampedValue]] = field(default_factory=dict)
    is_silent: bool = False
    """It works, and does not report."""


@dataclass(kw_only=True)
class SimulatedGroup:
    """Consumers under a policy. Every second records come in and are worked off; every few seconds Serve
    asks the policy."""

    policy: Callable[[AutoscalingContext], tuple[int, dict[str, Any]]]
    config: AutoscalingConfig
    arrivals: Callable[[float], float]
    """Records per second that come in, by the second of the simulation."""
    done_per_s: Callable[[float], float]
    """Records per second of one busy consumer."""
    partitions: int = 8
    noise: float = 0.2
    """The share by which both differ from second to second."""
    seed: int = 1
    now_s: float = 0.0
    target: int = 1
    consumers: list[Consumer] = field(default_factory=list)
    history: list[int] = field(default_factory=list)
    """What Serve was told, each second."""
    most_lag: float = 0.0

    def __post_init__(self) -> None:
        self.lag = [0.0] * self.partitions
        self._random = random.Random(self.seed)
        self._resting_until_s = 0.0
        self._state: dict[str, Any] = {}
        self._started = 0
        self._asked = autoscaling_policy._apply_autoscaling_config(self.policy)
        self._scale()

    def changes(self, since_s: int = 0) -> int:
        """Return how often the number of consumers was changed."""
        numbers = self.history[since_s:]
        return sum(one != other for one, other in pairwise(numbers))

    def run(self, seconds: int) -> None:
        """Let time pass."""
        for _ in range(seconds):
            self.now_s += 1
            self._join_and_leave()
            self._work()
            self._report()
            if self.now_s % _ASK_S == 0:
                self._ask()
            self.history.append(self.target)
            self.most_lag = max(self.most_lag, sum(self.lag))

    def members(self) -> list[Consumer]:
        """Return the consumers that are in the group."""
        return [one for one in self.consumers if one.joins_s <= self.now_s]

    def _join_and_leave(self) -> None:
        self.consumers = [one for one in self.consumers if one.leaves_s is None or one.leaves_s > self.now_s]
        members = self.members()
        reading = [one for one in members if one.leaves_s is None or one.leaves_s > self.now_s]
        wanted = {
            one.number: [p for p in range(self.partitions) if p % len(reading) == place]
            for place, one in enumerate(reading)
        }
        if any(one.partitions != wanted.get(one.number, []) for one in self.consumers):
            self._resting_until_s = self.now_s + _REBALANCE_S
            for one in self.consumers:
                one.partitions = wanted.get(one.number, [])

    def _work(self) -> None:
        arrived = self.arrivals(self.now_s) * self._differ()
        for partition in range(self.partitions):
            self.lag[partition] += arrived / self.partitions
        if self.now_s < self._resting_until_s:
            return
        for one in self.consumers:
            able = self.done_per_s(self.now_s) * self._differ()
            waiting = sum(self.lag[partition] for partition in one.partitions)
            done = min(able, waiting)
            one.published += done
            for partition in one.partitions:
                self.lag[partition] -= done * self.lag[partition] / waiting if waiting else 0.0

    def _differ(self) -> float:
        return 1 + self._random.uniform(-self.noise, self.noise)

    def _report(self) -> None:
        look_back_s = self.config.look_back_period_s
        for one in self.members():
            if (self.now_s + one.number) % _SAMPLE_S == 0:
                lag = sum(self.lag[partition] for partition in one.partitions)
                for name, value in {
                    LAG_RECORDS: lag,
                    PARTITIONS: float(len(one.partitions)),
                    PUBLISHED_RECORDS: one.published,
                    WAITING_RECORDS: max(0.0, lag - _IN_TURN_RECORDS),
                }.items():
                    one.samples.setdefault(name, []).append(TimeStampedValue(EPOCH_S + self.now_s, value))
            if (self.now_s + 7 * one.number) % _PUSH_S == 0:
                oldest = EPOCH_S + self.now_s - look_back_s
                one.samples = {
                    name: [sample for sample in samples if sample.timestamp > oldest]
                    for name, samples in one.samples.items()
                }
                if not one.is_silent:
                    one.pushed = dict(one.samples)

    def _ask(self) -> None:
        running = {self._replica(one): one for one in self.members() if one.leaves_s is None}
        raw: dict[str, dict[ReplicaID, list[TimeStampedValue]]] = {}
        for replica, one in running.items():
            for name, samples in one.pushed.items():
                raw.setdefault(name, {})[replica] = samples
        context = make_context(
            raw,
            running=list(running),
            target=self.target,
            now_s=EPOCH_S + self.now_s,
            config=self.config,
            state=self._state,
        )
        with _serve_time(EPOCH_S + self.now_s):
            wanted, self._state = self._asked(context)
        self.target = max(self.config.min_replicas, min(wanted, self.config.max_replicas))
        self._scale()

    def _scale(self) -> None:
        staying = [one for one in self.consumers if one.leaves_s is None]
        for _ in range(self.target - len(staying)):
            self._started += 1
            self.consumers.append(Consumer(self._started, joins_s=self.now_s + (_START_S if self.history else 0)))
        for one in staying[self.target :]:
            one.leaves_s = self.now_s + _DRAIN_S

    @staticmethod
    def _replica(one: Consumer) -> ReplicaID:
        return ReplicaID(str(one.number), DeploymentID("StreamConsumer"))


def make_context(
    raw: object,
    *,
    running: list[ReplicaID],
    target: int,
    now_s: float | None = EPOCH_S,
    config: AutoscalingConfig | None = None,
    state: dict[str, Any] | None = None,
) -> AutoscalingContext:
    """Build what Serve shows a policy."""
    return AutoscalingContext(
        deployment_id=DeploymentID("StreamConsumer"),
        deployment_name="StreamConsumer",
        app_name="weir",
        current_num_replicas=len(running),
        target_num_replicas=target,
        running_replicas=running,
        total_num_requests=0.0,
        total_queued_requests=0.0,
        aggregated_metrics={},
        raw_metrics=cast("Any", raw),
        capacity_adjusted_min_replicas=1,
        capacity_adjusted_max_replicas=100,
        policy_state=state or {},
        last_scale_up_time=None,
        last_scale_down_time=None,
        current_time=now_s,
        config=config,
    )


@contextmanager
def _serve_time(now_s: float) -> Iterator[None]:
    """Let Serve's delays see the simulation's time."""
    with patch.object(autoscaling_policy, "time", SimpleNamespace(time=lambda: now_s)):
        yield

"""How many stream consumers there are: by the records that wait in Kafka, and by those that come in."""

import math
import time
from collections.abc import Collection, Hashable
from typing import Any

import structlog
from ray.serve.config import AutoscalingContext

from services.scaling.consumer_reports import GroupLoad, Report, add_up, read_reports

_log = structlog.get_logger(__name__)

_NOISE = 0.1
"""The share by which rates may differ without anything having changed."""
_CALM_LAG = 0.5
"""One consumer less is enough only while no more than this share of what may wait for it does."""
_AHEAD_S = 60.0
"""Records that will be gone so soon, at the pace at which they go, need no further consumer."""
_SMOOTHING = 0.3
"""The weight of a new measurement beside those before it; there is one every 10 s."""
_DRAIN_S = 30.0
"""For so long after a consumer was told to go its partitions may be nobody's."""
_FORGET_S = 6 * 3_600.0
"""What a consumer can do is forgotten after so long without one being busy: other records may cost less."""
_LOG_INTERVAL_S = 60.0


class LagPolicy:
    """Wants as many stream consumers as the waiting records take, or the incoming ones, whichever is more.

    **Waiting**: each consumer shall have at most so many. **Incoming**: records in per second over what one consumer
    did per second while it was busy. Upwards it goes to what is wanted at once, downwards by one consumer at a time,
    and not at all where the difference may be noise, where consumers have just come or gone, or where one of them has
    not reported: what waits for that one is not known. There is never one beyond the number of partitions: it would
    have nothing to read. Serve applies the delays and the bounds of the deployment to what this wants.

    Serve's controller calls it some nine times a second. It never raises: that would stop the controller's updates of
    other applications, too.
    """

    def __init__(self, target_lag_records: int) -> None:
        """Make a policy that has measured nothing yet.

        Args:
            target_lag_records: records that may wait for each consumer, at least 1.
        """
        self._target_lag_records = target_lag_records
        self._members: frozenset[Hashable] = frozenset()
        self._settled_s = -math.inf
        """Samples from before this tell of another group."""
        self._measured_s = -math.inf
        self._arrived_per_s: float | None = None
        self._done_per_s: float | None = None
        """By one consumer that is busy."""
        self._busy_s = -math.inf
        self._quiet_until_s = -math.inf

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        """Return the number of replicas wanted, and no state."""
        try:
            return self._want(context), {}
        except Exception as error:  # noqa: BLE001  (the contract: Serve's controller must survive whatever it was shown)
            self._warn(time.time(), "stream consumers are not scaled: the policy failed", error=repr(error))
            return context.target_num_replicas, {}

    def _want(self, context: AutoscalingContext) -> int:
        now_s = time.time() if context.current_time is None else context.current_time
        members = frozenset(context.running_replicas)
        self._note_members(members, now_s)
        reports = read_reports(context.raw_metrics or {}, members, since_s=self._settled_s, now_s=now_s)
        target = context.target_num_replicas
        if missing := len(members) - len(reports):
            if now_s > self._settled_s + _DRAIN_S:
                self._warn(now_s, "stream consumers have not reported lately", missing=missing, running=len(members))
            return self._want_without(missing, reports.values(), target)
        load = add_up(reports.values())
        if load is None or len(members) != target:
            return target
        self._measure(load, newest_s=max(report.ended_s for report in reports.values()), now_s=now_s)
        return max(1, min(self._weigh(load, target), load.partitions))

    def _note_members(self, members: frozenset[Hashable], now_s: float) -> None:
        if members == self._members:
            return
        has_lost = bool(self._members - members)
        self._settled_s = max(self._settled_s, now_s + _DRAIN_S if has_lost else now_s)
        self._members = members

    def _want_without(self, missing: int, reports: Collection[Report], target: int) -> int:
        """Return what is wanted while some consumers are silent: never less, and more only for what surely waits."""
        if missing + len(reports) != target:
            return target
        lag_records = sum(report.lag_records for report in reports if report.is_steady)
        partitions = sum(report.partitions for report in reports)
        wanted = math.ceil(lag_records / self._target_lag_records)
        return max(target, min(wanted, math.ceil(partitions) + missing))

    def _measure(self, load: GroupLoad, *, newest_s: float, now_s: float) -> None:
        """Take note of a load, once: the policy is called more often than there are reports."""
        if now_s - self._busy_s > _FORGET_S:
            self._done_per_s = None
        if newest_s <= self._measured_s:
            return
        self._measured_s = newest_s
        self._arrived_per_s = _smooth(self._arrived_per_s, load.arrived_per_s)
        if load.busy_per_s:
            self._done_per_s = _smooth(self._done_per_s, sum(load.busy_per_s) / len(load.busy_per_s))
            self._busy_s = now_s

    def _weigh(self, load: GroupLoad, target: int) -> int:
        ahead_records = max(0.0, load.lag_records + min(0.0, load.growth_per_s) * _AHEAD_S)
        lag_needs = math.ceil(ahead_records / self._target_lag_records)
        if lag_needs > target or not self._keeps_up(target, load.partitions, at_most=1 + _NOISE):
            keeping_up = (
                number for number in range(1, load.partitions) if self._keeps_up(number, load.partitions, at_most=1.0)
            )
            return max(lag_needs, next(keeping_up, load.partitions))
        fewer = target - 1
        is_calm = load.lag_records <= _CALM_LAG * fewer * self._target_lag_records
        return fewer if is_calm and self._keeps_up(fewer, load.partitions, at_most=1 - _NOISE) else target

    def _keeps_up(self, number: int, partitions: int, *, at_most: float) -> bool:
        """Tell whether what comes in is at most this share of what so many consumers can do; they can, if unmeasured.

        Partitions are not shared: the consumer that has the most of them must be able to keep up with its own.
        """
        if self._arrived_per_s is None or self._done_per_s is None:
            return True
        busiest_share = math.ceil(partitions / number) / partitions if number else 1.0
        return self._arrived_per_s * busiest_share <= at_most * self._done_per_s

    def _warn(self, now_s: float, event: str, **fields: object) -> None:
        """Log, but not each of nine times a second."""
        if now_s >= self._quiet_until_s:
            self._quiet_until_s = now_s + _LOG_INTERVAL_S
            _log.warning(event, **fields)


def _smooth(before: float | None, new: float) -> float:
    return new if before is None else before + _SMOOTHING * (new - before)

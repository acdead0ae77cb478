"""What stream consumers report of themselves, and what it says of one of them and of the whole group."""

import math
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

LAG_RECORDS = "lag_records"
"""Reported by a stream consumer in `record_autoscaling_stats`: records of its partitions that are not published."""

PARTITIONS = "partitions"
"""Reported beside it: how many partitions it has been assigned."""

PUBLISHED_RECORDS = "published_records"
"""Reported beside it: how many records it has published since it connected."""

WAITING_RECORDS = "waiting_records"
"""Reported beside it: how much of the lag is more than it moderates at the same time. Where there is some all the time,
what it publishes is what it can do."""

_MAX_AGE_S = 30.0
"""Replicas push every 10 s what they sample every 3 s; what is older than this is late."""
_MIN_SPAN_S = 6.0
"""Of samples, for rates to be taken from them."""
_BUSY_S = 1.0
"""A consumer is busy while so many seconds' worth of records wait for their turn: less may be between two polls."""


class Sample(Protocol):
    """One value of a metric; Serve's `TimeStampedValue`."""

    timestamp: float
    value: float


Replica = TypeVar("Replica", bound=Hashable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a consumer did lately."""

    began_s: float
    """Unix time of its first sample, and of its last one."""
    ended_s: float
    lag_records: float
    """The mean."""
    is_steady: bool
    """True where it kept its partitions and its connection from the first sample to the last, long enough for rates."""
    partitions: float
    growth_per_s: float
    """Records by which its lag grew; negative where it fell. 0 where it is not steady, and so are the two below."""
    published_per_s: float
    waiting_records: float
    """The fewest that waited for their turn."""

    @property
    def is_busy(self) -> bool:
        """Tell whether it had more to do than it could, all the time."""
        return self.published_per_s > 0 and self.waiting_records > _BUSY_S * self.published_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLoad:
    """What the reports say together."""

    lag_records: float
    growth_per_s: float
    partitions: int
    arrived_per_s: float
    """Records that were added to the partitions."""
    busy_per_s: tuple[float, ...]
    """What each consumer published that was busy."""


def read_reports(
    series: Mapping[str, Mapping[Replica, Sequence[Sample]]],
    replicas: Iterable[Replica],
    *,
    since_s: float,
    now_s: float,
) -> dict[Replica, Report]:
    """Return the reports of those replicas that have one which is not late.

    Args:
        series: the samples of each metric, by its name and by replica, oldest first; Serve's `raw_metrics`. Metrics and
            replicas may be missing; values that are no finite numbers are passed over.
        replicas: the ones to read.
        since_s: Unix time; older samples do not count.
        now_s: Unix time.
    """
    reports: dict[Replica, Report] = {}
    for replica in replicas:
        lag, partitions, published, waiting = (
            _usable(series.get(name, {}).get(replica, ()), since_s)
            for name in (LAG_RECORDS, PARTITIONS, PUBLISHED_RECORDS, WAITING_RECORDS)
        )
        if not (lag and partitions and published and waiting) or lag[-1].timestamp < now_s - _MAX_AGE_S:
            continue
        span_s = lag[-1].timestamp - lag[0].timestamp
        made = published[-1].value - published[0].value
        is_steady = span_s >= _MIN_SPAN_S and made >= 0 and len({sample.value for sample in partitions}) == 1
        reports[replica] = Report(
            began_s=lag[0].timestamp,
            ended_s=lag[-1].timestamp,
            lag_records=sum(sample.value for sample in lag) / len(lag),
            is_steady=is_steady,
            partitions=partitions[-1].value,
            growth_per_s=(lag[-1].value - lag[0].value) / span_s if is_steady else 0.0,
            published_per_s=made / span_s if is_steady else 0.0,
            waiting_records=min(sample.value for sample in waiting) if is_steady else 0.0,
        )
    return reports


def add_up(reports: Iterable[Report]) -> GroupLoad | None:
    """Return what the reports of all consumers say together.

    None where that is not known: there is no report, a consumer is not steady, or they do not speak of the same time,
    so that a partition that has moved meanwhile may be missing, or be there twice.
    """
    known = list(reports)
    if not known or not all(report.is_steady for report in known):
        return None
    if max(report.began_s for report in known) > min(report.ended_s for report in known):
        return None
    growth_per_s = sum(report.growth_per_s for report in known)
    return GroupLoad(
        lag_records=sum(report.lag_records for report in known),
        growth_per_s=growth_per_s,
        partitions=max(1, round(sum(report.partitions for report in known))),
        arrived_per_s=max(0.0, growth_per_s + sum(report.published_per_s for report in known)),
        busy_per_s=tuple(report.published_per_s for report in known if report.is_busy),
    )


def _usable(samples: Sequence[Sample], since_s: float) -> list[Sample]:
    return [sample for sample in samples if sample.timestamp >= since_s and math.isfinite(sample.value)]

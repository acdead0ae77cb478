"""Counters of the Metrics port in Ray's metrics, for replicas.

Ray Serve exports queues, latencies, replicas and errors of the deployments by itself; they are not counted again here.
"""

from ray.util import metrics

from protector_models.moderation.metric_names import Metric


class RayMetrics:
    """Counts in Ray's metrics, from where its agents export them (with the prefix "ray_")."""

    def __init__(self) -> None:
        self._counters: dict[Metric, metrics.Counter] = {}

    def count(self, metric: Metric, value: int = 1, **labels: str) -> None:
        """Add to a counter. A counter has the same labels in every call."""
        if value <= 0:
            return  # Ray refuses an increment of 0
        counter = self._counters.get(metric)
        if counter is None:
            counter = self._counters[metric] = metrics.Counter(metric, tag_keys=tuple(labels))
        counter.inc(value, tags=labels)

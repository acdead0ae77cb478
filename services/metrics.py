"""Counters of the Metrics port: in Ray's metrics, or in prometheus_client's for processes without Ray.

Ray Serve exports queues, latencies, replicas and errors of the deployments by itself; they are not counted again here.
"""

import prometheus_client
from ray.util import metrics as ray_metrics

from protector_models.moderation.metric_names import Metric


class RayMetrics:
    """Counts in Ray's metrics, from where its agents export them (with the prefix "ray_")."""

    def __init__(self) -> None:
        self._counters: dict[Metric, ray_metrics.Counter] = {}

    def count(self, metric: Metric, value: int = 1, **labels: str) -> None:
        """Add to a counter. A counter has the same labels in every call."""
        if value <= 0:
            return  # Ray refuses an increment of 0
        counter = self._counters.get(metric)
        if counter is None:
            counter = self._counters[metric] = ray_metrics.Counter(metric, tag_keys=tuple(labels))
        counter.inc(value, tags=labels)


class PrometheusMetrics:
    """Counts in a registry of prometheus_client."""

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        self._registry = registry
        self._counters: dict[Metric, prometheus_client.Counter] = {}

    def count(self, metric: Metric, value: int = 1, **labels: str) -> None:
        """Add to a counter. A counter has the same labels in every call."""
        counter = self._counters.get(metric)
        if counter is None:
            counter = prometheus_client.Counter(metric, metric, labelnames=tuple(labels), registry=self._registry)
            self._counters[metric] = counter
        (counter.labels(**labels) if labels else counter).inc(value)

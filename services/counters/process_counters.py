"""Counters of the Metrics port in prometheus_client, for processes without Ray; Ray is not imported here."""

import prometheus_client

from protector_models.moderation.metric_names import Metric


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

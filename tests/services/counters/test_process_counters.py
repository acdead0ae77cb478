"""Counters."""

from prometheus_client import CollectorRegistry

from services.counters.process_counters import PrometheusMetrics
from services.counters.replica_counters import RayMetrics


def test_counts_add_up_by_label() -> None:
    registry = CollectorRegistry()
    metrics = PrometheusMetrics(registry)
    metrics.count("weir_verdicts_total", 2, action="allow")
    metrics.count("weir_verdicts_total", action="allow")
    metrics.count("weir_verdicts_total", action="block")

    assert registry.get_sample_value("weir_verdicts_total", {"action": "allow"}) == 3
    assert registry.get_sample_value("weir_verdicts_total", {"action": "block"}) == 1


def test_a_counter_without_labels_counts() -> None:
    registry = CollectorRegistry()
    PrometheusMetrics(registry).count("weir_records_read_total", 7)

    assert registry.get_sample_value("weir_records_read_total") == 7


def test_counting_in_ray_neither_raises_nor_needs_a_running_ray() -> None:
    metrics = RayMetrics()
    metrics.count("weir_cache_hits_total", 0, kind="assessment")
    metrics.count("weir_cache_hits_total", 3, kind="assessment")
    metrics.count("weir_records_read_total")

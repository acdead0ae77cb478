"""Counters for processes without Ray."""

from prometheus_client import CollectorRegistry

from services.metrics import PrometheusMetrics


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

"""Tests of what stands between the broker port and Kafka."""

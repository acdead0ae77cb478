"""Loads the servers that tests share, and lets hypothesis draw the same examples in every run."""

from hypothesis import settings

pytest_plugins = ["tests.kafka_server", "tests.redis_server"]

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None, max_examples=60)
settings.load_profile("repeatable")

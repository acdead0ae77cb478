"""Loads the servers that tests share."""

pytest_plugins = ["tests.kafka_server", "tests.redis_server"]

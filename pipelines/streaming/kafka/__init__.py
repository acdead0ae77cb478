"""Kafka behind the broker port, by kafka-python, and brokers that start on this machine."""

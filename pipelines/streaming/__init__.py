"""From conversation events on a Kafka topic to moderated conversations on another."""

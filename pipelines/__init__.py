"""Streaming from Kafka to Kafka, and the console command that puts the application together."""

"""The Metrics port: counters of a process, and of a replica."""

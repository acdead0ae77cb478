"""A broker in memory, for tests: the contract of the port without a server."""

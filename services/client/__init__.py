"""A client of the HTTP front, synchronous and asynchronous: the same calls, read and tried again in the same way."""

"""What is kept outside a process: the verdict cache in Redis."""

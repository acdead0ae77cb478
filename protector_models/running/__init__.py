"""Running models in this process: threads, deadlines, sessions."""

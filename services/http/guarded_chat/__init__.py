"""Guarded chat: the MLLM's answers to OpenAI's chat requests, of which nothing goes out that was not judged."""

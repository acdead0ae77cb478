"""The multimodal LLMs that answer conversations without a response."""

"""The moderation core, and the models: harm detector, detoxifier, multimodal LLM."""

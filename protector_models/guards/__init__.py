"""Generative guards: language models that say in words whether an answer is harmful."""

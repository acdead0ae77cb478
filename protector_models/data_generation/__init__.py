"""Training data written by a model behind an endpoint: scenarios, questions, a harmful and a harmless answer."""

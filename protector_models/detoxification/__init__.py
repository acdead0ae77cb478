"""The detoxifier: an edit model for wording, and generative models that write an answer anew."""

"""Conversations as bytes: what is taken in, what goes out, and a batch of them through a Moderator."""

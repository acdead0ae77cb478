"""The HTTP front: moderation calls over a Moderator, as an application that any ASGI server runs."""

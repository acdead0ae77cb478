"""The moderation core: types, policy, ports and the Moderator. Imports pydantic and the standard library only."""

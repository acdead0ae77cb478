"""The demonstration: conversations that come with Weir, and where they are from."""

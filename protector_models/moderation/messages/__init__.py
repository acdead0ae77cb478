"""Messages of a conversation, in whatever form SDKs and servers write them."""

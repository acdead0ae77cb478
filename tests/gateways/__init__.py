"""Gateways of others in front of Weir, unmodified, as their users install them."""

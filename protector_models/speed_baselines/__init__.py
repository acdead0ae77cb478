"""Baselines that the speed of Weir's models is measured against: the same weights as anybody would run them."""

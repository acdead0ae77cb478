"""Judges of texts that training and evaluation ask alike; none of them is the detector."""

"""What a text says to a model: its normal form, disguises seen through, languages, and the windows it is read in."""

"""The harm detector that ships with Weir: an int8 encoder that judges every piece of an answer; a bag of words."""

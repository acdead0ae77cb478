"""Training: what all recipes share, and one room for each thing that is trained."""

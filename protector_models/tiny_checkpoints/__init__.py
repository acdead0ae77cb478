"""Every family of checkpoints as models small enough to build in a second, with random weights."""

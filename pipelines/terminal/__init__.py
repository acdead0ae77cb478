"""What commands and demonstration show on a terminal."""

"""How good the detoxifier is: rewrites beside human ones, safe answers left alone, harm that remains."""

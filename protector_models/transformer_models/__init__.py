"""What every model of transformers shares: loading, encoding, writing texts."""

"""A token issuer for development: keys, tokens of any kind, and the two documents that a gateway reads."""

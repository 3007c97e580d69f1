"""Can I get in, and how fast is it? A client that says of every step how it went."""

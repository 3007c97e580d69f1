"""The bytes: pumps, and the nursery that owns two of them."""

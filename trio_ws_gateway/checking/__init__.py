"""Does it work? Looks at what settings point to, as the gateway would use it, and says what to do."""

"""Settings: one table, and how it is filled from the environment and a file."""

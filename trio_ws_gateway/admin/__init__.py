"""The operator's own door: HTTP on a listener of its own, and who may come in."""

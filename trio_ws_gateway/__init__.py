"""A WebSocket gateway on Trio: who speaks, may it, how much, to whom; then bytes, unchanged."""

__version__ = "0.1.0"

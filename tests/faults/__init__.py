"""Faults tried for real: what befalls a gateway, and that no more does. ``docs/reliability.md`` names these tests."""

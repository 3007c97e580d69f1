"""Why a goal is missed: by hand, from a profile, by the name of the work. Pure.

It is on the page for as long as the goal is missed. Say what the time goes to (``perf record -g`` of the gateway's
process under that work), what was tried, and what it brought.
"""

from collections.abc import Mapping

WHY: Mapping[str, str] = {}

"""Why a goal is missed: by hand, from a profile, by the name of the work. Pure.

It is on the page for as long as the goal is missed. Say what the time goes to (``perf record -g`` of the gateway's
process under that work), what was tried, and what it brought.
"""

from collections.abc import Mapping

PING_PONG = (
    "By `perf` at 100 connections 58 % of the time is the kernel's: 47 % in the two sends, each of which delivers "
    "to its receiver and wakes it, 7 % in the two receives. 38 % is Python's: some 1.2 us for a step without a "
    "limit, 1.9 us with one. The kernel's part, which nginx and HAProxy pay as well, leaves little of what the "
    "goals allow. What brought something: waiting for answers in the reactor and not in Trio (0.75-0.9 with 10 "
    "connections), module names for members of an enum (0.3 us a step). A compiled step was not tried."
)
BULK = (
    "By `perf` at 4 x 4 67 % of the time is the kernel's, half of that copying, and 30 % is Python's. A direction "
    "that stalls costs no turn of Trio's loop any more, and frames that look alike are counted in one go."
)
SESSION = (
    "A session makes some 2,350 Python calls: 77 % of its time is the interpreter's, 13 % the kernel's, and the "
    "kernel alone takes as long as Go in all. Parts by themselves, in us, on a busy machine where the whole took "
    "1,400: a nursery with two tasks 140, a wait for a descriptor 10-14 (two of them), a cancel scope 10-16 "
    "(eight), verifying RS256 51 (24 where the token is known), head and upgrade 31, the upstream's handshake 56, "
    "a log line 27-37. What brought something: the reactor hears a client leave during the dial, and no task of a "
    "nursery (0.93), no nursery that is cancelled at the end, fewer scopes and generators that live as long as the "
    "session. What did not: heads in fewer Python calls (9 us to read one and 4 to write one, with or without)."
)
MEMORY_OF_ONE = (
    "An idle relay is 10 kB of Python's memory (15 before scopes and generators were taken out): three tasks with "
    "their frames, contexts and cancel statuses are most of it, the price of a nursery for each session."
)
ONE = (
    "A message wakes the process twice, and each time costs a `select`, an `epoll_wait`, a `recv`, a step and a "
    "`send`. Before the reactor waited for answers itself it was two turns of Trio's loop more (p50 1.25 times "
    "what it is)."
)

WHY: Mapping[str, str] = {
    "ping-1": ONE,
    "ping-10": PING_PONG,
    "ping-100": PING_PONG,
    "ping-1000": PING_PONG,
    "10x16": BULK,
    "4x4": BULK,
    "sessions": SESSION,
    "memory": MEMORY_OF_ONE,
}

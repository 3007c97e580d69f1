"""Why a goal is missed: by hand, from a profile, by the name of the work. Pure.

It is on the page for as long as the goal is missed. Say what the time goes to (``perf record -g`` of the gateway's
process under that work), what was tried, and what it brought.
"""

from collections.abc import Mapping

PING_PONG = (
    "By `perf` at 100 connections 58 % of the time is the kernel's: 47 % in the two sends, each of which delivers to "
    "its receiver and wakes it, 7 % in the two receives. 38 % is Python's: some 1.2 us for a step without a limit, "
    "1.9 us with one. The kernel's part, which nginx and HAProxy pay as well, leaves little of what the goals allow. "
    "What brought something: waiting for answers in the reactor and not in Trio (0.75-0.9 with 10 connections), "
    "module names for members of an enum (0.3 us a step). A compiled step was not tried: it could save two steps of "
    "the 24 us that a message costs at the most, a seventh."
)
BULK = (
    "By `perf` at 4 x 4 67 % of the time is the kernel's, half of that copying, and 30 % is Python's. A direction "
    "that stalls costs no turn of Trio's loop any more, and frames that look alike are counted in one go."
)
SESSION = (
    "By `py-spy` under this work two fifths of the time are spent in system calls, the same as Go makes: six sends 16 "
    "%, the connect 11 %, two closes 7 %, looking for answers 4 %, the rest under 2 % each. The token takes 8 % "
    "(RS256 itself 4), the log line 4, Trio's loop, beside the tasks that it runs, 10. What is left are some 2,300 "
    "Python calls of which none has 2 %: there is no one thing to make quicker. What brought something: the reactor, "
    "and no task of a nursery, hears a client leave during the dial (0.93), no nursery that is cancelled at the end, "
    "fewer scopes and generators that live as long as the session, fewer collections of garbage. What did not: heads "
    "in fewer Python calls. A C parser (httptools) would read a request in a quarter of the time and save 1 % of a "
    "session; h11 takes twice as long as what is there."
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

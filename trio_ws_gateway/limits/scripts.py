"""What happens inside Redis: the limits that all gateways share, as Lua scripts. Pure text.

Each script works on one key, on Redis' own clock, in one step that nothing comes between, and lets the key live no
longer than it says anything. Nothing of the settings is kept in a key: each caller says how much it holds and how fast
it fills. All return whole numbers.

What somebody else has put into a key is no error of Redis: a key of another kind is begun anew, and of what is in one
only numbers count that a script may have written.
"""

import hashlib
from collections.abc import Hashable

# For all of them: the answer of a command, and a number from ``least`` to ``most``, or nil.
_BEGINNING = """
local function asked(...)
    local answer = redis.pcall(...)
    if type(answer) == 'table' and answer.err then
        if string.find(answer.err, 'WRONGTYPE', 1, true) then
            redis.call('DEL', KEYS[1])
        end
        return redis.call(...)
    end
    return answer
end
local function number(text, least, most)
    local found = tonumber(text)
    return found and found >= least and found <= most and found or nil
end
"""

# ARGV: tokens per second, the most it holds, tokens given back, tokens wanted.
# Returns: tokens granted, milliseconds until they are void, microseconds until the next token (0: there are more).
#
# What is kept is the debt: how many tokens are missing from a full bucket, and when that was so. It shrinks by the
# rate; a debt of nothing is a bucket that need not be remembered. After a step of the clock, back or (another master's)
# forward, the debt counts from the new time: who is in debt must not wait for the old time to come again.
TOKEN_BUCKET = f"""{_BEGINNING}
local rate, capacity, back, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = asked('HMGET', KEYS[1], 'debt', 'at')
local debt, at = math.min(number(kept[1], 0, math.huge) or 0, capacity), number(kept[2], 0, now) or now
debt = math.max(0, debt - math.max(0, now - at) * rate / 1000000 - back)
local free = math.max(0, math.floor(capacity - debt))
local granted = math.min(wanted, free)
debt = debt + granted
if debt > 0 then
    redis.call('HSET', KEYS[1], 'debt', string.format('%.17g', debt), 'at', string.format('%.0f', now))
    redis.call('PEXPIRE', KEYS[1], math.min(math.ceil(debt / rate * 1000), 1e12))
else
    redis.call('DEL', KEYS[1])
end
local again = 0
if granted == free then
    again = math.min(math.ceil(math.max(0, debt - capacity + 1) / rate * 1000000) + 1, 1e15)
end
return {{granted, 1000, again}}
"""

# The same arguments and answers, for windows of one second in each of which `capacity` is granted, whatever the rate.
# A window begins with the first token that is taken from it. What is not spent by its end is void then, so nothing that
# is given back belongs to a window that is still open.
FIXED_WINDOW = f"""{_BEGINNING}
local capacity, wanted = tonumber(ARGV[2]), tonumber(ARGV[4])
local used, left = math.min(number(asked('GET', KEYS[1]), 0, math.huge) or 0, capacity), redis.call('PTTL', KEYS[1])
if left <= 0 or left > 1000 then
    used, left = 0, 1000
end
local free = math.max(0, capacity - used)
local granted = math.min(wanted, free)
if granted > 0 then
    redis.call('SET', KEYS[1], string.format('%.0f', used + granted), 'PX', left)
end
return {{granted, left, granted == free and left * 1000 or 0}}
"""

# How many sessions each gateway has of one subject. ARGV: name of the gateway, how many it has, how many all may have
# (0: that is not asked, it only tells), for how many milliseconds this counts. Returns: 1, or 0 where they would be too
# many, and then nothing is noted; and how many the others have.
SESSIONS = f"""{_BEGINNING}
local gateway, count, limit, valid = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = math.floor(time[1] * 1000 + time[2] / 1000)
local others = 0
local noted = asked('HGETALL', KEYS[1])
for index = 1, #noted, 2 do
    if noted[index] ~= gateway then
        local sessions, void_at = string.match(noted[index + 1], '^(%d+) (%d+)$')
        sessions, void_at = number(sessions, 1, 1e9), number(void_at, now + 1, now + valid)
        if sessions and void_at then
            others = others + sessions
        else
            redis.call('HDEL', KEYS[1], noted[index])
        end
    end
end
if limit > 0 and others + count > limit then
    return {{0, others}}
end
if count > 0 then
    redis.call('HSET', KEYS[1], gateway, string.format('%.0f %.0f', count, now + valid))
    redis.call('PEXPIRE', KEYS[1], valid)
else
    redis.call('HDEL', KEYS[1], gateway)
end
return {{1, others}}
"""


def key_of(prefix: str, what: str, identity: Hashable) -> str:
    """The name of a key: short, the same in every gateway, and it shows nobody's name to who looks at Redis.

    In braces, so that all keys of one identity are in one slot of a cluster.
    """
    digest = hashlib.sha256(repr(identity).encode("utf-8", "backslashreplace")).hexdigest()[:32]
    return f"{prefix}{what}:{{{digest}}}"

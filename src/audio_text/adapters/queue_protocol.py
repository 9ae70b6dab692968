"""What producers and consumers of the queue agree on: dramatiq's own protocol, plus a wake-up.

Dramatiq keeps each queue as a list and a hash, and moves messages with one Lua script whose private protocol is
KEYS = [namespace], ARGV = [command, now_ms, queue, worker, heartbeat_timeout_ms, dead_message_ttl_ms, maintenance,
unpack_limit, …]. We run that very script, wrapped: the clock is the server's, and a command that puts messages on a
queue also publishes the queue's name on WAKE_CHANNEL, in the same round trip, so that no worker has to poll.
"""

from functools import cache
from importlib.resources import files

NAMESPACE = "audio-text"

WAKE_CHANNEL = f"{NAMESPACE}:wake"

ACTOR_NAME = "transcribe"

HEARTBEAT_TIMEOUT_MS = 15_000
"""A process that is silent for longer has died: its messages go to others."""

DEAD_MESSAGE_TTL_MS = 7 * 24 * 3_600_000
"""How long a message that no actor could take is kept for an operator to see."""

_BEFORE = """
-- One clock for all: a worker whose own clock is behind would look dead to the others.
local time = redis.call("time")
ARGV[2] = string.format("%.0f", time[1] * 1000 + math.floor(time[2] / 1000))
local function dispatch()
"""

_AFTER = """
end
local reply = dispatch()
if ARGV[1] == "enqueue" or ARGV[1] == "requeue" then
    redis.call("publish", KEYS[1] .. ":wake", ARGV[3])
end
return reply
"""

UNPACK_LIMIT = 1_000
"""Ids that the script hands to one command at a time; Lua's stack holds several times as many."""

WITHOUT_MAINTENANCE = {"ack", "nack"}
"""Dramatiq's choice; every other command first gives the messages of dead workers back to the queue it is for."""


@cache
def dispatch_script() -> str:
    """The Lua script behind every command on a queue."""
    script = files("dramatiq").joinpath("brokers", "redis", "dispatch.lua").read_text(encoding="utf-8")
    return _BEFORE + script + _AFTER


def dispatch_arguments(
    command: str,
    queue_name: str,
    *arguments: str | int | bytes,
    worker: str,
    heartbeat_timeout_ms: int = HEARTBEAT_TIMEOUT_MS,
) -> list[str | int | bytes]:
    """ARGV of the script; KEYS is [NAMESPACE]."""
    maintenance = int(command not in WITHOUT_MAINTENANCE)
    now = 0  # filled in by the server
    fixed = [command, now, queue_name, worker, heartbeat_timeout_ms, DEAD_MESSAGE_TTL_MS, maintenance, UNPACK_LIMIT]
    return [*fixed, *arguments]

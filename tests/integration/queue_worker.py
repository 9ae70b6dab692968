"""A worker process for the tests: prints a line per message that it starts, and never ends one.

Arguments: host, port, password, database, tier, heartbeat timeout in ms.
"""

import sys
import threading

import dramatiq
import msgspec

from audio_text.adapters.broker import make_broker, make_worker
from audio_text.adapters.queue_protocol import ACTOR_NAME
from audio_text.settings import RedisSettings


def main(host: str, port: str, password: str, queue_db: str, tier: str, heartbeat_timeout_ms: str) -> None:
    settings = RedisSettings(host=host, port=int(port), queue_db=int(queue_db), events_db=1)
    broker = make_broker(
        settings,
        password,
        tiers=[tier],
        slots=1,
        client_name="test-process",
        heartbeat_timeout_ms=int(heartbeat_timeout_ms),
    )

    def transcribe(tier: str) -> None:
        sys.stdout.write(msgspec.json.encode({"started": tier}).decode() + "\n")
        sys.stdout.flush()
        threading.Event().wait()

    dramatiq.actor(transcribe, actor_name=ACTOR_NAME, broker=broker, queue_name=tier)
    make_worker(broker, 1).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(*sys.argv[1:])

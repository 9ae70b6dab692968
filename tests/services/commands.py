"""`audio-text …` as a process of its own, and what tells it where everything is."""

import os
import sys
from pathlib import Path

from services.database import Database
from services.redis import RedisServer

COMMAND = [sys.executable, "-P", "-m", "audio_text"]


def environ(database: Database, redis_server: RedisServer, folder: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("AUDIO_TEXT_")}  # noqa: TID251 -- a child's
    return inherited | {
        "AUDIO_TEXT_DATABASE_HOST": database.settings.host,
        "AUDIO_TEXT_DATABASE_PORT": str(database.settings.port),
        "AUDIO_TEXT_DATABASE_NAME": database.settings.name,
        "AUDIO_TEXT_DATABASE_USER": database.settings.user,
        "AUDIO_TEXT_DATABASE_PASSWORD": database.password,
        "AUDIO_TEXT_REDIS_HOST": redis_server.settings.host,
        "AUDIO_TEXT_REDIS_PORT": str(redis_server.settings.port),
        "AUDIO_TEXT_REDIS_PASSWORD": redis_server.password,
        "AUDIO_TEXT_STORE_KIND": "disk",
        "AUDIO_TEXT_DISK_FOLDER": str(folder),
    }

"""What an id may look like, whatever it is of: what cannot be one is unknown, and no database is asked for it."""

import re

from audio_text.errors import AudioTextError

PATTERN = "[\x21-\x7e]{1,100}"

_ID = re.compile(PATTERN)


def checked_id(text: str, unknown: type[AudioTextError]) -> str:
    """Give the id back if something could have it. Raises `unknown`: what is told of an id that nothing has."""
    if not _ID.fullmatch(text):
        raise unknown
    return text

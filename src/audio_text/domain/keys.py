"""The names of stored objects: random, so that knowing one is the right to it, and never the client's file name."""

import re
import secrets
from collections.abc import Iterable

UPLOAD_PREFIX = "uploads/"
"""Everything that the stores' own orphan rules may remove lies under it."""

_RANDOM_BYTES = 16
_KEY = re.compile(r"uploads/([0-9a-f]{2})/\1[0-9a-f]{30}(?:\.[a-z0-9]{1,16})?")
_EXTENSION = re.compile(r"[a-z0-9]{1,16}")


def new_key(extension: str) -> str:
    """A fresh key of 128 random bits, such as `uploads/2b/2b9c….mp3`; the extension without its dot, or empty.

    The second part spreads the objects over 256 folders. Raises ValueError for an extension that
    `domain.media.extension_of` would not return.
    """
    if extension and not _EXTENSION.fullmatch(extension):
        raise ValueError(f"not an extension: {extension!r}")
    name = secrets.token_hex(_RANDOM_BYTES)
    suffix = f".{extension}" if extension else ""
    return f"{UPLOAD_PREFIX}{name[:2]}/{name}{suffix}"


def is_key(text: str) -> bool:
    """Whether `new_key` could have made it: such a text is safe in a path, a URL and a log line."""
    return _KEY.fullmatch(text) is not None


def key_behind(url: str, prefixes: Iterable[str]) -> str | None:
    """The key of a URL made of one of these addresses, a key and a query; None for any other URL."""
    for prefix in prefixes:
        if url.startswith(prefix):
            key = url.removeprefix(prefix).partition("?")[0]
            return key if is_key(key) else None
    return None

"""The names of stored objects: random, bound to an owner, and never the client's file name."""

import hashlib
import re
import secrets
from collections.abc import Iterable

from audio_text.domain.media import is_extension

UPLOAD_PREFIX = "uploads/"
"""Everything that the stores' own orphan rules may remove lies under it."""

_RANDOM_BYTES = 10
_SEAL_BYTES = 6
"""Of a name's 16 bytes, those that nobody can guess, and those that say whose it is, for who knows the rest."""

_KEY = re.compile(r"uploads/([0-9a-f]{2})/\1[0-9a-f]{30}(?:\.[a-z0-9]{1,16})?")


def new_key(extension: str, *, owner: str | None = None) -> str:
    """A fresh key, such as `uploads/2b/2b9c….mp3`, of this owner; the extension without its dot, or empty.

    80 of its bits are random, 48 a digest of those and the owner. The second part spreads the objects over 256 folders.
    Raises ValueError for an extension that `domain.media.extension_of` would not return.
    """
    if extension and not is_extension(extension):
        raise ValueError(f"not an extension: {extension!r}")
    random = secrets.token_hex(_RANDOM_BYTES)
    name = random + _seal(random, owner)
    suffix = f".{extension}" if extension else ""
    return f"{UPLOAD_PREFIX}{name[:2]}/{name}{suffix}"


def belongs_to(key: str, owner: str | None) -> bool:
    """Whether the key was made for this owner; None is one like any other. Raises ValueError for what is no key."""
    if not is_key(key):
        raise ValueError(f"not a key: {key!r}")
    name = key.rpartition("/")[2].partition(".")[0]
    random, seal = name[: 2 * _RANDOM_BYTES], name[2 * _RANDOM_BYTES :]
    return seal == _seal(random, owner)


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


def _seal(random: str, owner: str | None) -> str:
    """Digest the owner with what is random, so that no two names of one owner are alike."""
    whose = b"" if owner is None else b"\x00" + owner.encode()
    return hashlib.blake2b(random.encode() + whose, digest_size=_SEAL_BYTES, person=b"object owner").hexdigest()

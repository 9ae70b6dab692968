"""The secrets of keys and tickets: how they look, and what is kept of them instead.

A secret is `atk_`, 8 characters that people recognise it by, `_`, 43 characters of chance, and 6 of a checksum, all of
the 62 letters and digits: one word in any editor, URL or header, which scanners for leaked secrets find by
`atk_[0-9A-Za-z]{8}_[0-9A-Za-z]{49}` and tell from other text by its checksum, without asking anybody.

What is kept is the SHA-256. A slow hash is for what people invent; 43 of 62 characters are 256 bits of chance, of which
nobody tries even a part, and a slow hash would be a door for those who want to keep the service busy.
"""

import hashlib
import re
import secrets
import string
import zlib

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_PREFIX_LENGTH = 8
_RANDOM_LENGTH = 43
"""The fewest characters of 62 that hold 256 bits."""

_CHECKSUM_LENGTH = 6
"""The fewest that hold the 32 bits of a CRC-32."""

_SECRET = re.compile(r"(atk_[0-9A-Za-z]{8}_[0-9A-Za-z]{43})([0-9A-Za-z]{6})")
_TICKET = re.compile(r"att_[0-9A-Za-z]{43}")


def new_secret() -> str:
    """Make the secret of a key."""
    text = f"atk_{_random(_PREFIX_LENGTH)}_{_random(_RANDOM_LENGTH)}"
    return text + _checksum(text)


def new_ticket() -> str:
    """Make the text of a ticket: `att_` and 256 bits of chance."""
    return f"att_{_random(_RANDOM_LENGTH)}"


def is_secret(text: str) -> bool:
    """Whether `new_secret` could have made it; a mistyped one is found out here, at no cost."""
    found = _SECRET.fullmatch(text)
    return found is not None and found[2] == _checksum(found[1])


def is_ticket(text: str) -> bool:
    """Whether `new_ticket` could have made it."""
    return _TICKET.fullmatch(text) is not None


def prefix_of(secret: str) -> str:
    """Give the part of a secret that may be shown: `atk_` and 8 characters, which open nothing."""
    return secret[: len("atk_") + _PREFIX_LENGTH]


def digest_of(text: str) -> str:
    """Give what is kept of a secret or a ticket: its SHA-256, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits

"""Keys under which a submission happens once, however often it is sent."""

import hashlib

import msgspec

from audio_text.domain.job import Job


class IdempotencyKey(msgspec.Struct, frozen=True, kw_only=True):
    """What a client calls its submission: `text` is unique among those of its owner for `seconds`.

    `fingerprint` sums up what is asked for. One that takes over replaces what the key led to before.
    """

    text: str
    fingerprint: str
    seconds: int
    owner: str | None = None
    takes_over: bool = False


class Submitted(msgspec.Struct, frozen=True, kw_only=True):
    """What was submitted under a key: its fingerprint, and the job as it was then."""

    fingerprint: str
    job: Job


def fingerprint_of(*parts: object) -> str:
    """Sum up what a request asks for, in hexadecimal."""
    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()

"""Who calls, and what they may: keys, their scopes and limits."""

from datetime import datetime
from enum import StrEnum

import msgspec

from audio_text.domain.job import Priority
from audio_text.domain.owners import EVERYBODY, Whose, is_of

LONGEST_LIFE_SECONDS = 315_360_000
"""Ten years; a key that is to hold for longer names no end."""


class Scope(StrEnum):
    """What a key is good for; each is asked for by itself: `submit` does not imply `read`."""

    submit = "submit"
    read = "read"
    admin = "admin"


class KeyLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one key may use; None: as much as the settings give to each."""

    requests_per_minute: int | None = None
    requests_per_hour: int | None = None
    concurrent_jobs: int | None = None
    audio_seconds_per_day: int | None = None
    highest_priority: Priority | None = None


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key that was given out; its secret is known to nobody but whoever has it.

    `prefix` is the beginning of the secret, by which people recognise it. Times are aware UTC; a key without
    `expires_at` holds until it is revoked.
    """

    id: str
    prefix: str
    name: str
    owner: str
    scopes: frozenset[Scope]
    created_at: datetime
    limits: KeyLimits = KeyLimits()
    expires_at: datetime | None = None
    revoked_at: datetime | None = None
    last_used_at: datetime | None = None


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who a request comes from. Jobs and uploads belong to its `owner`, and do not exist for other owners.

    `sees_all`: in open mode, where nobody has a name, everything is everybody's. `key_id` is the key that it came with.
    """

    owner: str | None = None
    key_id: str | None = None
    scopes: frozenset[Scope] = frozenset()
    limits: KeyLimits = KeyLimits()
    sees_all: bool = False

    @property
    def whose(self) -> Whose:
        """Whose things exist for the caller."""
        return EVERYBODY if self.sees_all else self.owner

    def sees(self, owner: str | None) -> bool:
        """Whether what belongs to this owner exists for the caller."""
        return is_of(owner, self.whose)


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """What a connection was opened with: a secret of a key, by its digest, or a ticket, which is its key's (None)."""

    key_id: str
    digest: str | None = None


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """What a browser opens a socket or an event stream with instead of a key: good once, and not for long."""

    text: str
    expires_at: datetime


OPERATOR = Caller(scopes=frozenset({Scope.admin}))
"""Whoever knows the AUDIO_TEXT_OPERATOR_TOKEN that the service was started with: the first admin."""

ANYBODY = Caller(scopes=frozenset({Scope.submit, Scope.read}), sees_all=True)
"""Whoever calls in open mode."""

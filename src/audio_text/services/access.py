"""Use cases of keys: who calls, and what an admin does with them."""

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from hmac import compare_digest
from uuid import uuid4

import structlog
from msgspec.structs import replace

from audio_text.domain.access import OPERATOR, ApiKey, Caller, KeyLimits, Scope, Ticket
from audio_text.domain.key_secrets import digest_of, is_secret, is_ticket, new_secret, new_ticket, prefix_of
from audio_text.domain.owners import EVERYBODY, Whose
from audio_text.errors import KeyNotFoundError, KeyStateError, TransientError, UnauthorizedError
from audio_text.ports import KeyMatch, KeyRepository, Tickets
from audio_text.services.key_watch import KeyWatch
from audio_text.services.known_keys import KnownKeys, require_valid
from audio_text.settings import AccessSettings

MOST_LISTED = 1_000
"""Keys in one answer."""

log = structlog.get_logger(__name__)


class AccessService:
    """The one way in: secrets and tickets become callers, and only here.

    A key is looked up at most once every `access.cache_seconds` in a process, however many calls come with it: so long
    a revoked one may still be taken elsewhere. Everything raises DatabaseUnavailableError.
    """

    def __init__(
        self, keys: KeyRepository, *, tickets: Tickets, settings: AccessSettings, operator_token: str = ""
    ) -> None:
        self._keys = keys
        self._tickets = tickets
        self._ticket_seconds = settings.ticket_seconds
        self._operator = _known(operator_token.encode()) if operator_token else None
        self.known = KnownKeys(keys, seconds=settings.cache_seconds)
        self.watch = KeyWatch(keys, known=self.known, seconds=settings.cache_seconds)

    async def caller(self, secret: str) -> Caller:
        """Tell whose secret it is, as an HTTP header has it (Latin-1). Raises UnauthorizedError."""
        if self._is_operator(secret):
            return OPERATOR
        if not is_secret(secret):  # nobody's, and not worth a statement
            raise UnauthorizedError
        match = await self.known.match(digest_of(secret))
        if match is None:
            raise UnauthorizedError
        require_valid(match)
        self.known.note_use(match.key)
        return _caller_of(match.key)

    def remembers(self, secret: str) -> bool:
        """Whether a caller came with this secret before, or knows the operator's token."""
        return self._is_operator(secret) or (is_secret(secret) and self.known.remembers(digest_of(secret)))

    async def issue_ticket(self, caller: Caller) -> Ticket:
        """Make a ticket for somebody to read, once, what the caller may. Raises TicketsUnavailableError."""
        expires_at = datetime.now(UTC) + timedelta(seconds=self._ticket_seconds)
        text = new_ticket()
        may = replace(caller, scopes=caller.scopes & {Scope.read})
        await self._tickets.keep(digest_of(text), may, seconds=self._ticket_seconds)
        return Ticket(text=text, expires_at=expires_at)

    async def redeem(self, ticket: str) -> Caller:
        """Tell whose ticket it is, the first time. Raises UnauthorizedError, TicketsUnavailableError.

        The key behind it is looked up, so that the tickets of a revoked one are good for nothing. Where that fails, the
        ticket was not used: DatabaseUnavailableError.
        """
        digest = digest_of(ticket)
        caller = await self._tickets.take(digest) if is_ticket(ticket) else None
        if caller is None:
            raise UnauthorizedError("This ticket is unknown, was used before, or has expired: ask for a new one.")
        if caller.key_id is not None:
            try:
                require_valid(KeyMatch(key=await self._keys.get(caller.key_id)))
            except KeyNotFoundError as error:
                raise UnauthorizedError from error
            except TransientError:
                await self._tickets.keep(digest, caller, seconds=self._ticket_seconds)
                raise
        return caller

    async def create(
        self,
        *,
        owner: str,
        name: str,
        scopes: frozenset[Scope],
        limits: KeyLimits = KeyLimits(),  # noqa: B008 -- it is frozen
        expires_in_seconds: float | None = None,
    ) -> tuple[ApiKey, str]:
        """Make a key; it, and its secret, which nobody can be told again."""
        secret, now = new_secret(), datetime.now(UTC)
        key = ApiKey(
            id=str(uuid4()),
            prefix=prefix_of(secret),
            name=name,
            owner=owner,
            scopes=scopes,
            limits=limits,
            created_at=now,
            expires_at=None if expires_in_seconds is None else now + timedelta(seconds=expires_in_seconds),
        )
        await self._keys.add(key, digest=digest_of(secret))
        log.info(
            "key_created",
            key_id=key.id,
            prefix=key.prefix,
            owner=owner,
            scopes=[scope.value for scope in sorted(scopes)],
        )
        return key, secret

    async def list(
        self, owner: Whose = EVERYBODY, *, limit: int = MOST_LISTED, before: tuple[datetime, str] | None = None
    ) -> list[ApiKey]:
        """List keys of an owner, or of everybody, newest first, strictly earlier than `before` (created_at, id)."""
        return await self._keys.find(owner=owner, limit=limit, before=before)

    async def get(self, key_id: str) -> ApiKey:
        """Read one key. Raises KeyNotFoundError."""
        return await self._keys.get(key_id)

    async def revoke(self, key_id: str) -> ApiKey:
        """End a key for good; safe to repeat. Raises KeyNotFoundError.

        Here it is refused from now on; in other processes within `access.cache_seconds`.
        """
        key = await self._keys.revoke(key_id)
        self.known.forget(key_id)
        self.watch.look_soon()
        log.info("key_revoked", key_id=key_id, prefix=key.prefix, owner=key.owner)
        return key

    async def rotate(self, key_id: str, overlap_seconds: float) -> tuple[ApiKey, str]:
        """Give a key a new secret; the one it had holds for so long still, and any before that no more.

        Raises KeyNotFoundError, KeyStateError for one that is revoked or expired.
        """
        secret = new_secret()
        key = await self._keys.rotate(
            key_id, prefix=prefix_of(secret), digest=digest_of(secret), overlap_seconds=overlap_seconds
        )
        if key is None:
            await self._keys.get(key_id)
            raise KeyStateError
        self.known.forget(key_id)
        self.watch.look_soon()
        log.info("key_rotated", key_id=key_id, prefix=key.prefix, owner=key.owner, overlap_seconds=overlap_seconds)
        return key, secret

    def _is_operator(self, secret: str) -> bool:
        # As bytes, for a header may hold any; and as digests, so that the time tells nothing of the token's length.
        given = secret.encode("latin-1", errors="backslashreplace")
        return self._operator is not None and compare_digest(_known(given), self._operator)


def _known(token: bytes) -> bytes:
    return sha256(token).digest()


def _caller_of(key: ApiKey) -> Caller:
    return Caller(owner=key.owner, key_id=key.id, scopes=key.scopes, limits=key.limits)

"""PostgreSQL behind Piccolo's engine: a pool that opens without a server and recovers by itself."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, Never, Protocol, cast

import asyncpg  # pyright: ignore[reportMissingTypeStubs] -- it has none: the Protocols below say what we use
from piccolo.engine.postgres import PostgresEngine

from audio_text.errors import (
    AudioQuotaError,
    AudioTextError,
    ConcurrentJobsError,
    DatabaseNotMigratedError,
    DatabaseUnavailableError,
)
from audio_text.settings import DatabaseSettings

CLIENT_GRACE_SECONDS = 2.0
"""The server ends a slow statement; only when it does not answer at all, the client gives up, this much later."""

WARM_UP_SECONDS = 2.0
"""How long a start waits for its first connections: they save time later, and nothing depends on them."""

KEEPALIVE = {"tcp_keepalives_idle": "5", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
"""Within 20 seconds the server notices that the machine behind a silent connection is gone, and frees its locks."""

SILENT_SECONDS = 15.0
"""The server ends a session beside the pool that says nothing for so long: its process is frozen, and holds a lock."""

CONNECTION_LOST = (
    ConnectionError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
)
"""The connection is gone, and whether its statement was carried out is unknown."""

DYING = "cannot switch to state"
"""How asyncpg refuses to begin a statement on a connection that it is just losing."""

DYING_CONNECTIONS = 3
"""How many of these in a row are passed over before the server is called unreachable."""

UNAVAILABLE = (
    *CONNECTION_LOST,
    OSError,  # also every time-out
    asyncpg.InternalClientError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.ReadOnlySQLTransactionError,  # a standby, while another server takes over
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
)
REFUSALS = {kind.code: kind for kind in (ConcurrentJobsError, AudioQuotaError)}
"""What functions in the database raise, by its text."""

NOT_MIGRATED = (
    asyncpg.UndefinedTableError,
    asyncpg.UndefinedColumnError,
    asyncpg.UndefinedFunctionError,
    asyncpg.UndefinedObjectError,
)


class Connection(Protocol):
    """What we use of an asyncpg connection. Everything in it raises asyncpg's errors."""

    async def fetch(self, query: str, *args: object) -> list[Mapping[str, Any]]:
        """Run one statement with its parameters, $1 first."""
        ...

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement for its effect; several, separated by semicolons, when there are no parameters."""
        ...

    def terminate(self) -> None:
        """Drop the connection at once, without a word to the server."""
        ...

    async def close(self, *, timeout: float | None = None) -> None:  # noqa: ASYNC109 -- asyncpg's signature
        """Say good-bye to the server; cut the connection when it does not answer in time, or when cancelled."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[None]:
        """Commit at the end, or roll back on an error."""
        ...


Connect = Callable[..., Awaitable[Connection]]
connect = cast("Connect", asyncpg.connect)  # pyright: ignore[reportUnknownMemberType] -- untyped


class Pool(Protocol):
    """What we use of an asyncpg pool."""

    def acquire(self, *, timeout: float) -> AbstractAsyncContextManager[Connection]:
        """Lend a connection that is open, connecting if need be."""
        ...

    async def close(self) -> None:
        """Wait until every connection is back, and close them; cut them when cancelled."""
        ...


@contextmanager
def vendor_errors() -> Generator[None]:
    """Turn what asyncpg raises into ours: DatabaseUnavailableError for what may pass, AudioTextError for a defect.

    DatabaseNotMigratedError, one of the former, when a table or column is missing; and what functions of ours refuse.
    """
    try:
        yield
    except NOT_MIGRATED as error:
        raise DatabaseNotMigratedError from error
    except asyncpg.LockNotAvailableError as error:
        raise DatabaseUnavailableError("Somebody kept a table locked for too long: try again.") from error
    except asyncpg.RaiseError as error:
        refusal = REFUSALS.get(str(error.args[0]))
        raise refusal() if refusal else AudioTextError("The database refused a statement of the service.") from error
    except asyncpg.DataError as error:  # an InterfaceError too, but the values are at fault
        raise AudioTextError("The service sent the database a value that it cannot hold.") from error
    except UNAVAILABLE as error:
        raise DatabaseUnavailableError from error
    except asyncpg.PostgresError as error:
        raise AudioTextError("The database refused a statement of the service.") from error


def connection_arguments(
    settings: DatabaseSettings, password: str, *, application_name: str, statement_seconds: float
) -> dict[str, Any]:
    """Give what asyncpg needs to connect; nothing is left for it to find in the environment."""
    return {
        "host": settings.host,
        "port": settings.port,
        "database": settings.name,
        "user": settings.user,
        "password": password,
        "timeout": settings.timeout_seconds,
        "command_timeout": statement_seconds + CLIENT_GRACE_SECONDS,
        "server_settings": {
            "application_name": application_name,
            "statement_timeout": f"{statement_seconds * 1000:.0f}",
            "timezone": "UTC",
            "jit": "off",  # these statements are over before a compiler has begun
        },
    }


class LazyEngine(PostgresEngine):
    """Piccolo's engine, without its habit of connecting as soon as it is made."""

    async def check_version(self) -> None:
        """Look at nothing."""

    async def prep_database(self) -> None:
        """Create no extensions."""


class PooledEngine(LazyEngine):
    """An engine whose every statement goes through its pool, with a limit on every wait."""

    def __init__(self, pool: Pool, *, arguments: Mapping[str, Any], timeout_seconds: float) -> None:
        super().__init__(config={})
        self.pool = cast("Any", pool)
        self.arguments = arguments
        self.timeout_seconds = timeout_seconds

    @asynccontextmanager
    async def own_connection(self) -> AsyncGenerator[Connection]:
        """Open a connection beside the pool, and close it at the end: with it ends what its session holds.

        It has to say something within any SILENT_SECONDS.
        """
        limits = KEEPALIVE | {"idle_session_timeout": f"{SILENT_SECONDS * 1000:.0f}"}
        arguments = {**self.arguments, "server_settings": self.arguments["server_settings"] | limits}
        with vendor_errors():
            connection = await connect(**arguments)
        try:
            yield connection
        finally:
            with suppress(*UNAVAILABLE):  # then the connection is gone in another way
                await connection.close(timeout=self.timeout_seconds)

    async def _run_in_pool(self, query: str, args: Sequence[Any] | None = None) -> list[Mapping[str, Any]]:
        # Piccolo's own waits for a free connection for ever.
        pool: Pool = cast("Any", self.pool)
        for _ in range(DYING_CONNECTIONS):
            async with pool.acquire(timeout=self.timeout_seconds) as connection:
                try:
                    return await connection.fetch(query, *(args or ()))
                except asyncio.CancelledError:
                    # The pool would wait for the server's word on it, and make a time-out of the cancellation.
                    connection.terminate()
                    raise
                except asyncpg.InternalClientError as error:
                    # The server's farewell is still being read, and nothing of this statement was sent.
                    connection.terminate()
                    if DYING not in str(error):
                        raise
        raise ConnectionResetError("The server closes every connection.")

    def transaction(self, allow_nested: bool = True) -> Never:  # noqa: FBT001, FBT002 -- Piccolo's signature
        """Refuse: a cancelled task takes the connection of Piccolo's transaction with it. One statement is enough."""
        raise NotImplementedError


@asynccontextmanager
async def open_database(
    settings: DatabaseSettings, password: str, *, application_name: str
) -> AsyncGenerator[PooledEngine]:
    """Open a pool of connections that pg_stat_activity shows under `application_name`.

    Opens also while no server answers: then every statement raises until one does.
    """
    arguments = connection_arguments(
        settings, password, application_name=application_name, statement_seconds=settings.timeout_seconds
    )
    create_pool = cast("Callable[..., Awaitable[Pool]]", asyncpg.create_pool)  # pyright: ignore[reportUnknownMemberType] -- untyped
    pool = await create_pool(min_size=0, max_size=settings.pool_max, reset=_leave_as_it_is, **arguments)
    try:
        await _warm_up(pool, settings)
        yield PooledEngine(pool, arguments=arguments, timeout_seconds=settings.timeout_seconds)
    finally:
        with suppress(TimeoutError):  # then the pool has cut its connections
            async with asyncio.timeout(settings.timeout_seconds):
                await pool.close()


async def _leave_as_it_is(connection: Connection) -> None:
    """Spare the question that asyncpg asks after each statement: ours leave nothing behind in their session."""


async def _warm_up(pool: Pool, settings: DatabaseSettings) -> None:
    with suppress(AudioTextError), vendor_errors():  # then every statement says so
        async with AsyncExitStack() as connections:
            for _ in range(settings.pool_min):
                await connections.enter_async_context(pool.acquire(timeout=WARM_UP_SECONDS))

"""Our use of aioboto3: a client with portable habits, and its errors in our words."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any, Protocol, cast

import aioboto3  # pyright: ignore[reportMissingTypeStubs] -- it ships none; typed by the Protocols below
import aiohttp
from aiobotocore.config import AioConfig  # pyright: ignore[reportMissingTypeStubs] -- it ships none
from botocore.exceptions import (  # pyright: ignore[reportMissingTypeStubs] -- it ships none
    BotoCoreError,
    ClientError,
    InvalidRegionError,
    NoCredentialsError,
    PartialCredentialsError,
)

from audio_text.adapters.draft_file import FULL
from audio_text.errors import ConfigurationError, DiskFullError, StoreUnavailableError, UploadMissingError
from audio_text.settings import S3Settings

CONNECT_SECONDS, READ_SECONDS = 3, 10
"""Longest wait for a connection, and for the next bytes of an answer."""

ANSWER_SECONDS = 20.0
"""Longest wait for the answer to a small request, its retries included."""

ATTEMPTS = 3
CONNECTIONS = 32

MISSING_CODES = frozenset({"404", "NoSuchKey", "NoSuchUpload", "NotFound"})
REFUSED_CODES = frozenset(
    {"401", "403", "AccessDenied", "ExpiredToken", "InvalidAccessKeyId", "InvalidToken", "SignatureDoesNotMatch"}
)
CLOCK_CODE = "RequestTimeTooSkewed"

Response = Mapping[str, Any]


class S3Body(Protocol):
    """An object's bytes as they come."""

    def iter_chunks(self, chunk_size: int) -> AsyncIterator[bytes]:
        """Pieces of at most that size; raises when the connection breaks before the end."""
        ...

    def close(self) -> None:
        """Drop the connection, whatever is left on it."""
        ...


class S3Operation(Protocol):
    """One operation of the client; botocore makes them out of its model at run time."""

    async def __call__(self, **parameters: object) -> Response:
        """Do it. Parameters and answer have Amazon's names."""
        ...


class _Meta(Protocol):
    endpoint_url: str


class S3Client(Protocol):
    """The operations that we use."""

    meta: _Meta
    head_bucket: S3Operation
    create_bucket: S3Operation
    get_bucket_cors: S3Operation
    put_bucket_cors: S3Operation
    delete_bucket_cors: S3Operation
    get_bucket_lifecycle_configuration: S3Operation
    put_bucket_lifecycle_configuration: S3Operation
    list_objects_v2: S3Operation
    head_object: S3Operation
    get_object: S3Operation
    put_object: S3Operation
    create_multipart_upload: S3Operation
    upload_part: S3Operation
    list_parts: S3Operation
    complete_multipart_upload: S3Operation
    abort_multipart_upload: S3Operation
    delete_object: S3Operation

    async def generate_presigned_url(self, operation: str, **parameters: object) -> str:
        """Sign a request for somebody else to make; talks to nobody."""
        ...


class _Session(Protocol):
    def client(self, service: str, **parameters: object) -> AbstractAsyncContextManager[S3Client]: ...


CONFIG = AioConfig(
    signature_version="s3v4",
    # every server knows path-style addresses, not every one has a wildcard name
    s3={"addressing_style": "path"},
    # the newer default checksums are unknown to older servers
    request_checksum_calculation="when_required",
    response_checksum_validation="when_required",
    connect_timeout=CONNECT_SECONDS,
    read_timeout=READ_SECONDS,
    retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
    max_pool_connections=CONNECTIONS,
    # our settings say where the server is, not AWS_ENDPOINT_URL
    ignore_configured_endpoint_urls=True,
)


class S3Clients:
    """`client` talks to the server; `presigner` signs for those who reach it under its public address."""

    def __init__(self, client: S3Client, presigner: S3Client) -> None:
        self.client = client
        self.presigner = presigner


@asynccontextmanager
async def open_clients(settings: S3Settings, *, access_key: str, secret_key: str) -> AsyncGenerator[S3Clients, None]:
    """Open the clients of one process; the server need not be up.

    Without keys botocore looks for its own (the role of a machine or a pod). Raises ConfigurationError.
    """
    session = cast(
        "_Session",
        aioboto3.Session(
            aws_access_key_id=access_key or None,
            aws_secret_access_key=secret_key or None,
            region_name=settings.region,
        ),
    )

    def make(endpoint: str) -> AbstractAsyncContextManager[S3Client]:
        return session.client("s3", endpoint_url=endpoint or None, config=CONFIG)

    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(make(settings.endpoint))
            presigner = client
            if settings.public_endpoint not in {"", settings.endpoint}:
                presigner = await stack.enter_async_context(make(settings.public_endpoint))
        except (ValueError, InvalidRegionError, PartialCredentialsError) as error:
            raise ConfigurationError(f"The [s3] settings are not usable: {error}") from error
        yield S3Clients(client, presigner)


@contextmanager
def s3_errors(bucket: str) -> Generator[None]:
    """Map what botocore, aiohttp and the temp folder raise to ours."""
    try:
        yield
    except ClientError as error:
        raise _translated(error, bucket) from error
    except (NoCredentialsError, PartialCredentialsError) as error:
        raise StoreUnavailableError(_refused(bucket)) from error
    except (BotoCoreError, aiohttp.ClientError) as error:
        raise StoreUnavailableError from error
    except OSError as error:  # TimeoutError is one
        if error.errno in FULL:
            raise DiskFullError(
                "The disk for downloads is full: whoever runs this service has to free some of it, or name a larger "
                "one in worker.temp_folder."
            ) from error
        raise StoreUnavailableError from error


@asynccontextmanager
async def s3_answer(bucket: str, *, seconds: float = ANSWER_SECONDS) -> AsyncGenerator[None, None]:
    """s3_errors, for a request whose whole answer has to come within so long."""
    with s3_errors(bucket):
        async with asyncio.timeout(seconds):
            yield


def code_of(error: ClientError) -> str:
    """What the server calls the error; the HTTP status as text where an answer has no body (HEAD)."""
    response = cast("Response", error.response)
    return str(response.get("Error", {}).get("Code", ""))


def _translated(error: ClientError, bucket: str) -> Exception:
    code = code_of(error)
    if code in MISSING_CODES:
        return UploadMissingError()
    if code == "NoSuchBucket":
        return StoreUnavailableError(f"The bucket {bucket} does not exist.")
    if code in REFUSED_CODES:
        return StoreUnavailableError(_refused(bucket))
    if code == CLOCK_CODE:
        return StoreUnavailableError("The audio store's clock and ours differ too much: set this machine's clock.")
    return StoreUnavailableError()


def _refused(bucket: str) -> str:
    return (
        "The audio store refuses our keys: check AUDIO_TEXT_S3_ACCESS_KEY and AUDIO_TEXT_S3_SECRET_KEY, "
        f"and that they may list, read, write and delete in the bucket {bucket}."
    )

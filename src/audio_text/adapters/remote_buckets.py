"""Recordings in buckets that are not ours, read through the S3 client with our keys."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from typing import cast

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore ships none

from audio_text.adapters.s3_client import (
    MISSING_CODES,
    REFUSED_CODES,
    Response,
    S3Body,
    S3Client,
    code_of,
    open_clients,
    s3_answer,
    s3_errors,
)
from audio_text.errors import RemoteRefusedError, RemoteUnavailableError, StoreUnavailableError
from audio_text.ports import BucketResponse
from audio_text.settings import S3Settings

CHUNK_BYTES = 256 * 1024
REFUSED = MISSING_CODES | REFUSED_CODES | {"NoSuchBucket", "PermanentRedirect", "InvalidObjectState"}


class S3RemoteBuckets:
    """The `RemoteBuckets` of production: which ones may be named is for its caller to know."""

    def __init__(self, client: S3Client) -> None:
        self._client = client

    @asynccontextmanager
    async def stream(self, bucket: str, key: str) -> AsyncGenerator[BucketResponse, None]:
        """Get an object. Raises RemoteRefusedError, RemoteUnavailableError."""
        answer = await self._get(bucket, key)
        body = cast("S3Body", answer["Body"])
        with closing(body):
            yield BucketResponse(
                size_bytes=answer["ContentLength"],
                content_type=answer.get("ContentType") or None,
                pieces=_pieces(bucket, body),
            )

    async def _get(self, bucket: str, key: str) -> Response:
        try:
            async with s3_answer(bucket):
                try:
                    return await self._client.get_object(Bucket=bucket, Key=key)
                except ClientError as error:
                    if code_of(error) in REFUSED:
                        raise RemoteRefusedError(
                            f"There is no such object in the bucket {bucket}, or this service may not read it."
                        ) from error
                    raise
        except StoreUnavailableError as error:
            raise RemoteUnavailableError(f"The bucket {bucket} cannot be read just now.") from error


@asynccontextmanager
async def open_remote_buckets(
    settings: S3Settings, *, access_key: str, secret_key: str
) -> AsyncGenerator[S3RemoteBuckets, None]:
    """Open a client of one process; the server need not be up. Raises ConfigurationError."""
    async with open_clients(settings, access_key=access_key, secret_key=secret_key) as clients:
        yield S3RemoteBuckets(clients.client)


async def _pieces(bucket: str, body: S3Body) -> AsyncGenerator[bytes, None]:
    chunks = body.iter_chunks(CHUNK_BYTES)
    while True:
        try:
            with s3_errors(bucket):
                chunk = await anext(chunks, b"")
        except StoreUnavailableError as error:
            raise RemoteUnavailableError(f"The bucket {bucket} broke off.") from error
        if not chunk:
            return
        yield chunk

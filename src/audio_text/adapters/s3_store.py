"""The audio store in a bucket of Amazon S3, or of a server that speaks its language."""

import asyncio
import hashlib
from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import Any, cast

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore ships none

from audio_text.adapters.draft_file import DraftFile, check_room, draft_file, in_thread, remove_abandoned
from audio_text.adapters.s3_bucket import create_bucket, set_cors_rule, set_lifecycle_rule
from audio_text.adapters.s3_client import S3Body, S3Client, S3Clients, code_of, open_clients, s3_answer, s3_errors
from audio_text.adapters.s3_parts import address_of, complete, parts_of, upload_answer
from audio_text.adapters.s3_writing import write_object
from audio_text.domain.media import media_type
from audio_text.domain.multipart import MAX_PART_BYTES, MultipartUpload
from audio_text.domain.object_keys import UPLOAD_PREFIX, is_key, key_behind
from audio_text.errors import (
    ChecksumMismatchError,
    ForeignUrlError,
    StoreUnavailableError,
    UploadMissingError,
    UploadNotFoundError,
    UploadTooLargeError,
)
from audio_text.ports import StoredObject, UploadTarget
from audio_text.settings import S3Settings

CHUNK_BYTES = 256 * 1024
CHECK_SECONDS = 5.0
BEYOND_THE_END = frozenset({"InvalidRange", "416"})

SHA256 = "sha256"
"""Under this name an object remembers, in hexadecimal, what was declared for it."""

DOWNLOAD_PREFIX = "audio-text-download-"
"""Marks our files in a temp folder that may be the system's."""


class S3AudioStore:
    """Recordings as objects; `prepare` sets the bucket up, everything else expects it."""

    def __init__(
        self,
        clients: S3Clients,
        settings: S3Settings,
        *,
        cors_origins: tuple[str, ...],
        temp_folder: Path,
        reserve_bytes: int,
    ) -> None:
        self._client = clients.client
        self._presigner = clients.presigner
        self._bucket = settings.bucket
        self._region = settings.region
        self._lifecycle_days = settings.lifecycle_days
        self._cors_origins = cors_origins
        self._temp_folder = temp_folder
        self._reserve_bytes = reserve_bytes
        self._public_address = _address(clients.presigner, settings.bucket)
        self._addresses = _addresses(clients, settings)

    async def prepare(self) -> None:
        """Create the bucket, its CORS rule and its lifecycle rule where they are missing; keep all other rules."""
        async with s3_answer(self._bucket):
            await create_bucket(self._client, self._bucket, region=self._region)
            await set_cors_rule(self._client, self._bucket, origins=self._cors_origins)
            await set_lifecycle_rule(self._client, self._bucket, days=self._lifecycle_days)

    async def presign_upload(
        self, key: str, *, content_type: str | None, size_bytes: int, expires_seconds: int, sha256: str | None = None
    ) -> UploadTarget:
        """A URL bound to this key, exactly this size and, when given, this content type and SHA-256; asks nobody.

        Not every server compares the checksum it is sent, so that the object also remembers it, for `fetch`. Raises
        UploadTooLargeError for what S3 takes only in parts.
        """
        if size_bytes > MAX_PART_BYTES:
            raise UploadTooLargeError(
                f"The file has {size_bytes} bytes; more than {MAX_PART_BYTES} are taken only in parts: "
                "POST /api/v1/audio/uploads."
            )
        parameters: dict[str, object] = {"Bucket": self._bucket, "Key": key, "ContentLength": size_bytes}
        headers: dict[str, str] = {}
        if content_type := media_type(content_type):
            parameters["ContentType"] = headers["Content-Type"] = content_type
        if sha256:
            checksum = b64encode(bytes.fromhex(sha256)).decode()
            parameters |= {"ChecksumSHA256": checksum, "Metadata": {SHA256: sha256}}
            headers |= {"x-amz-checksum-sha256": checksum, f"x-amz-meta-{SHA256}": sha256}
        return await self._target("put_object", parameters, headers=headers, expires_seconds=expires_seconds)

    async def begin_multipart(
        self,
        key: str,
        *,
        content_type: str | None,
        size_bytes: int,  # noqa: ARG002 -- the disk store has to know
        sha256: str | None = None,
    ) -> str:
        """Begin an upload in parts; S3's name of it. The bucket's lifecycle rule ends it after a day."""
        content_type = media_type(content_type)
        described: dict[str, object] = {"ContentType": content_type} if content_type else {}
        if sha256:
            described["Metadata"] = {SHA256: sha256}
        async with s3_answer(self._bucket):
            answer = await self._client.create_multipart_upload(Bucket=self._bucket, Key=key, **described)
        return cast("str", answer["UploadId"])

    async def presign_part(self, upload: MultipartUpload, number: int, *, expires_seconds: int) -> UploadTarget:
        """A URL bound to this part, with exactly its size; asks nobody."""
        place = {"PartNumber": number, "ContentLength": upload.size_of(number)}
        parameters = address_of(self._bucket, upload) | place
        return await self._target("upload_part", parameters, headers={}, expires_seconds=expires_seconds)

    async def received_parts(self, upload: MultipartUpload) -> list[int]:
        """The numbers of the parts that are there whole, ascending. Raises UploadNotFoundError."""
        return list(await parts_of(self._client, self._bucket, upload))

    async def complete_multipart(self, upload: MultipartUpload) -> None:
        """Make the object of its parts; a SHA-256 is left to `fetch`.

        Raises UploadIncompleteError, UploadNotFoundError.
        """
        await complete(self._client, self._bucket, upload)

    async def abort_multipart(self, upload: MultipartUpload) -> None:
        """Remove the parts of an upload; not an error when it is gone or complete."""
        with suppress(UploadNotFoundError):
            async with upload_answer(self._bucket):
                await self._client.abort_multipart_upload(**address_of(self._bucket, upload))

    async def write(self, key: str, *, content_type: str | None, body: AsyncIterator[bytes]) -> StoredObject:
        """Send on what comes, part by part, one of them in memory. Errors of `body` pass through."""
        content_type = media_type(content_type)
        size = await write_object(self._client, self._bucket, key, content_type=content_type, body=body)
        return StoredObject(key=key, size_bytes=size, content_type=content_type)

    def url_of(self, key: str) -> str:
        """The address of an object as clients see it, for `key_of`."""
        return self._public_address + key

    def key_of(self, url: str) -> str:
        """The key behind a URL that `presign_upload` made, expired or not. Raises ForeignUrlError."""
        key = key_behind(url, self._addresses)
        if key is None:
            raise ForeignUrlError
        return key

    async def stat(self, key: str) -> StoredObject:
        """Raises UploadMissingError."""
        async with s3_answer(self._bucket):
            head = await self._client.head_object(Bucket=self._bucket, Key=key)
        return StoredObject(key=key, size_bytes=head["ContentLength"], content_type=head.get("ContentType") or None)

    async def read_range(self, key: str, start: int, length: int) -> bytes:
        """Bytes [start, start + length), fewer at the end. Raises UploadMissingError."""
        if length <= 0:
            return b""
        async with s3_answer(self._bucket):
            try:
                answer = await self._client.get_object(
                    Bucket=self._bucket, Key=key, Range=f"bytes={start}-{start + length - 1}"
                )
            except ClientError as error:
                if code_of(error) in BEYOND_THE_END:
                    return b""
                raise
            return await _read(cast("S3Body", answer["Body"]), length)

    @asynccontextmanager
    async def fetch(self, key: str) -> AsyncGenerator[Path, None]:
        """A copy in the temp folder, removed when the context closes.

        Raises UploadMissingError, DiskFullError, ChecksumMismatchError.
        """
        async with AsyncExitStack() as stack:
            with s3_errors(self._bucket):
                answer = await self._client.get_object(Bucket=self._bucket, Key=key)
                declared = cast("Mapping[str, str]", answer.get("Metadata", {})).get(SHA256)
                digest = hashlib.sha256() if declared else None
                suffix = PurePosixPath(key).suffix
                with closing(cast("S3Body", answer["Body"])) as body:
                    draft = await stack.enter_async_context(
                        draft_file(self._temp_folder, prefix=DOWNLOAD_PREFIX, suffix=suffix, digest=digest)
                    )
                    await self._download(body, draft, answer["ContentLength"])
            if digest and digest.hexdigest() != declared:
                raise ChecksumMismatchError
            yield draft.path

    async def delete(self, key: str) -> None:
        """Remove the object; not an error when it is gone already."""
        with suppress(UploadMissingError):
            async with s3_answer(self._bucket):
                await self._client.delete_object(Bucket=self._bucket, Key=key)

    async def list_older(self, *, seconds: float) -> AsyncGenerator[list[str], None]:
        """Keys of the objects that were written longer ago, in pages as the server has them: at most 1,000."""
        oldest = datetime.now(UTC) - timedelta(seconds=seconds)
        place: dict[str, object] | None = {}
        while place is not None:
            async with s3_answer(self._bucket):
                page = await self._client.list_objects_v2(Bucket=self._bucket, Prefix=UPLOAD_PREFIX, **place)
            found = cast("list[Mapping[str, Any]]", page.get("Contents", []))
            yield [entry["Key"] for entry in found if entry["LastModified"] < oldest and is_key(entry["Key"])]
            place = {"ContinuationToken": page["NextContinuationToken"]} if page["IsTruncated"] else None

    async def remove_abandoned(self) -> int:
        """Remove the downloads that processes left behind when they were killed; how many there were."""
        with s3_errors(self._bucket):
            return await in_thread(remove_abandoned, self._temp_folder, f"{DOWNLOAD_PREFIX}*")

    async def check(self) -> None:
        """Raise StoreUnavailableError unless the bucket answers."""
        try:
            async with s3_answer(self._bucket, seconds=CHECK_SECONDS):
                await self._client.head_bucket(Bucket=self._bucket)
        except UploadMissingError as error:
            raise StoreUnavailableError(f"The bucket {self._bucket} does not exist.") from error

    async def _target(
        self, operation: str, parameters: dict[str, object], *, headers: dict[str, str], expires_seconds: int
    ) -> UploadTarget:
        async with s3_answer(self._bucket):
            url = await self._presigner.generate_presigned_url(operation, Params=parameters, ExpiresIn=expires_seconds)
        expires_at = datetime.now(UTC) + timedelta(seconds=expires_seconds)
        return UploadTarget(url=url, headers=headers, expires_at=expires_at)

    async def _download(self, body: S3Body, draft: DraftFile, size_bytes: int) -> None:
        await asyncio.to_thread(check_room, self._temp_folder, size_bytes, reserve_bytes=self._reserve_bytes)
        async for chunk in body.iter_chunks(CHUNK_BYTES):
            await draft.append(chunk)
        await draft.flush()


@asynccontextmanager
async def open_s3_store(
    settings: S3Settings,
    *,
    access_key: str,
    secret_key: str,
    cors_origins: tuple[str, ...],
    temp_folder: Path,
    reserve_bytes: int,
) -> AsyncGenerator[S3AudioStore, None]:
    """Open the store of one process: one session, one client; the server need not be up. Raises ConfigurationError.

    Downloads go to `temp_folder`, and leave `reserve_bytes` of its disk free.
    """
    async with open_clients(settings, access_key=access_key, secret_key=secret_key) as clients:
        yield S3AudioStore(
            clients, settings, cors_origins=cors_origins, temp_folder=temp_folder, reserve_bytes=reserve_bytes
        )


async def _read(body: S3Body, length: int) -> bytes:
    """At most `length` bytes, also from a server that takes no notice of ranges."""
    data = bytearray()
    try:
        async for chunk in body.iter_chunks(CHUNK_BYTES):
            data += chunk
            if len(data) >= length:
                break
    finally:
        body.close()
    return bytes(data[:length])


def _addresses(clients: S3Clients, settings: S3Settings) -> list[str]:
    """What our URLs begin with, up to the key."""
    bucket, region = settings.bucket, settings.region
    ours = [_address(client, bucket) for client in (clients.client, clients.presigner)]
    amazon = [
        f"https://{bucket}.s3.{region}.amazonaws.com/",
        f"https://{bucket}.s3.amazonaws.com/",
        f"https://s3.{region}.amazonaws.com/{bucket}/",
        f"https://s3.amazonaws.com/{bucket}/",
    ]
    return ours if settings.endpoint else ours + amazon


def _address(client: S3Client, bucket: str) -> str:
    """What path-style URLs of the bucket begin with."""
    return f"{client.meta.endpoint_url.rstrip('/')}/{bucket}/"

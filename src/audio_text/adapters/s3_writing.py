"""Objects that are written by us: of unknown size, as their bytes arrive."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress

from audio_text.adapters.s3_client import S3Client, s3_answer
from audio_text.errors import StoreUnavailableError, UploadMissingError

PART_BYTES = 8 * 1024 * 1024
"""In memory at a time; 10,000 of them are the most that S3 takes, so that 80 GiB is the largest object."""

PART_SECONDS = 60.0
"""How long one part may take; the store is near."""


async def write_object(
    client: S3Client, bucket: str, key: str, *, content_type: str | None, body: AsyncIterator[bytes]
) -> int:
    """Write all of `body`; its size. Raises StoreUnavailableError; errors of `body` pass through."""
    described = {"ContentType": content_type} if content_type else {}
    parts = _parts(body)
    first = await anext(parts, b"")
    if len(first) < PART_BYTES:
        async with s3_answer(bucket, seconds=PART_SECONDS):
            await client.put_object(Bucket=bucket, Key=key, Body=first, **described)
        return len(first)
    async with s3_answer(bucket):
        upload = await client.create_multipart_upload(Bucket=bucket, Key=key, **described)
    target = {"Bucket": bucket, "Key": key, "UploadId": upload["UploadId"]}
    try:
        return await _write_parts(client, target, first=first, others=parts)
    except BaseException:
        # What cannot be given up now is left to the bucket's lifecycle rule.
        with suppress(StoreUnavailableError, UploadMissingError):
            async with s3_answer(bucket):
                await client.abort_multipart_upload(**target)
        raise


async def _write_parts(
    client: S3Client, target: dict[str, str], *, first: bytes, others: AsyncGenerator[bytes, None]
) -> int:
    size, written = 0, list[dict[str, object]]()
    part = first
    while part:
        number = len(written) + 1
        async with s3_answer(target["Bucket"], seconds=PART_SECONDS):
            answer = await client.upload_part(**target, PartNumber=number, Body=part)
        written.append({"PartNumber": number, "ETag": answer["ETag"]})
        size += len(part)
        part = await anext(others, b"")
    async with s3_answer(target["Bucket"], seconds=PART_SECONDS):
        await client.complete_multipart_upload(**target, MultipartUpload={"Parts": written})
    return size


async def _parts(body: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """The body in pieces of PART_BYTES, the last one smaller; nothing for an empty body."""
    piece = bytearray()
    async for chunk in body:
        piece += chunk
        while len(piece) >= PART_BYTES:
            yield bytes(piece[:PART_BYTES])
            del piece[:PART_BYTES]
    if piece:
        yield bytes(piece)

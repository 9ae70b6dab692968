"""Objects that others write in parts: what has come of one, and making it whole."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

from botocore.exceptions import ClientError  # pyright: ignore[reportMissingTypeStubs] -- botocore ships none

from audio_text.adapters.s3_client import ANSWER_SECONDS, S3Client, code_of, s3_answer
from audio_text.domain.multipart import MultipartUpload, in_words
from audio_text.errors import UploadIncompleteError, UploadMissingError, UploadNotFoundError

COMPLETE_SECONDS = 120.0
"""Servers may copy the parts together before they answer."""

CHANGED_CODES = frozenset({"InvalidPart", "InvalidPartOrder", "EntityTooSmall"})
"""A part was sent again since we looked."""


def address_of(bucket: str, upload: MultipartUpload) -> dict[str, object]:
    """An upload as S3 names it."""
    return {"Bucket": bucket, "Key": upload.key, "UploadId": upload.store_id}


@asynccontextmanager
async def upload_answer(bucket: str, *, seconds: float = ANSWER_SECONDS) -> AsyncGenerator[None, None]:
    """s3_answer, where what is missing is the upload; servers call that by different names."""
    try:
        async with s3_answer(bucket, seconds=seconds):
            yield
    except UploadMissingError as error:
        raise UploadNotFoundError from error


async def parts_of(client: S3Client, bucket: str, upload: MultipartUpload) -> dict[int, str]:
    """ETags of the parts that are there whole, by ascending number. Raises UploadNotFoundError."""
    found: dict[int, str] = {}
    place: dict[str, object] | None = {}
    while place is not None:
        async with upload_answer(bucket):
            page = await client.list_parts(**address_of(bucket, upload), **place)
        for part in cast("list[Mapping[str, Any]]", page.get("Parts", [])):
            number = part["PartNumber"]
            if number <= upload.part_count and part["Size"] == upload.size_of(number):
                found[number] = part["ETag"]
        place = {"PartNumberMarker": page["NextPartNumberMarker"]} if page["IsTruncated"] else None
    return found


async def complete(client: S3Client, bucket: str, upload: MultipartUpload) -> None:
    """Make the object of its parts. Raises UploadIncompleteError, UploadNotFoundError, StoreUnavailableError."""
    tags = await parts_of(client, bucket, upload)
    if missing := upload.missing(tags):
        raise UploadIncompleteError(f"Parts of the upload are missing: {in_words(missing)}.")
    parts = [{"PartNumber": number, "ETag": tag} for number, tag in tags.items()]
    async with upload_answer(bucket, seconds=COMPLETE_SECONDS):
        try:
            await client.complete_multipart_upload(**address_of(bucket, upload), MultipartUpload={"Parts": parts})
        except ClientError as error:
            if code_of(error) in CHANGED_CODES:
                raise UploadIncompleteError("A part was sent again meanwhile: complete the upload again.") from error
            raise

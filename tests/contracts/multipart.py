"""What every store does with uploads in parts, and with files whose SHA-256 was declared."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable

import pytest
from msgspec.structs import replace

from audio_text.domain.multipart import MIN_PART_BYTES, MultipartUpload
from audio_text.domain.object_keys import new_key
from audio_text.errors import (
    ChecksumMismatchError,
    UploadIncompleteError,
    UploadMissingError,
    UploadNotFoundError,
)
from audio_text.ports import AudioStore

Put = Callable[..., Awaitable[bool]]
"""(url, data, content type, more headers) to whether the store took it: what a browser does with a link."""

LAST_BYTES = 1_001
SIZE = 2 * MIN_PART_BYTES + LAST_BYTES


def recording(seed: int = 0) -> bytes:
    """SIZE bytes of which no part is like another."""
    return hashlib.shake_128(bytes([seed])).digest(SIZE)


async def begun(store: AudioStore, *, sha256: str = "") -> MultipartUpload:
    key = new_key("wav")
    store_id = await store.begin_multipart(key, content_type="audio/wav", size_bytes=SIZE, sha256=sha256 or None)
    expires = int(time.time()) + 600
    return MultipartUpload(
        key=key, size_bytes=SIZE, part_size=MIN_PART_BYTES, expires=expires, store_id=store_id, sha256=sha256
    )


async def send(store: AudioStore, put: Put, upload: MultipartUpload, number: int, data: bytes) -> bool:
    """Send the part of this number of the file."""
    target = await store.presign_part(upload, number, expires_seconds=60)
    start = upload.offset_of(number)
    return await put(target.url, data[start : start + upload.size_of(number)], None, target.headers)


async def content(store: AudioStore, key: str) -> bytes:
    async with store.fetch(key) as path:
        return await asyncio.to_thread(path.read_bytes)


class MultipartContract:
    """Part of the contract of a store; the fixtures are its."""

    async def test_parts_in_any_order_make_the_file(self, store: AudioStore, put: Put) -> None:
        upload, data = await begun(store), recording()
        assert await store.received_parts(upload) == []
        assert all(await asyncio.gather(*(send(store, put, upload, number, data) for number in (3, 1, 2))))
        assert await store.received_parts(upload) == [1, 2, 3]
        await store.complete_multipart(upload)
        assert (await store.stat(upload.key)).size_bytes == SIZE
        assert await content(store, upload.key) == data

    async def test_nothing_is_there_before_it_is_complete(self, store: AudioStore, put: Put) -> None:
        upload, data = await begun(store), recording()
        for number in (1, 3):
            assert await send(store, put, upload, number, data)
        with pytest.raises(UploadIncompleteError, match=r"missing: 2\."):
            await store.complete_multipart(upload)
        with pytest.raises(UploadMissingError):
            await store.stat(upload.key)
        assert await store.received_parts(upload) == [1, 3]
        assert not [key async for page in store.list_older(seconds=-3_600) for key in page if key == upload.key]

    async def test_a_part_that_is_sent_again_replaces_the_first(self, store: AudioStore, put: Put) -> None:
        upload, data, other = await begun(store), recording(), recording(seed=1)
        assert await send(store, put, upload, 2, other)
        for number in (1, 2, 3):
            assert await send(store, put, upload, number, data)
        await store.complete_multipart(upload)
        assert await content(store, upload.key) == data

    @pytest.mark.parametrize("change", [-1, 1])
    async def test_a_part_has_exactly_its_size(self, store: AudioStore, put: Put, change: int) -> None:
        upload = await begun(store)
        target = await store.presign_part(upload, 3, expires_seconds=60)
        assert not await put(target.url, bytes(LAST_BYTES + change), None, target.headers)
        assert await store.received_parts(upload) == []

    async def test_a_link_is_for_its_part_and_its_upload_only(self, store: AudioStore, put: Put) -> None:
        upload, other = await begun(store), await begun(store)
        target = await store.presign_part(upload, 1, expires_seconds=60)
        for text, instead in (("part=1", "part=2"), ("partNumber=1", "partNumber=2"), (upload.key, other.key)):
            if (url := target.url.replace(text, instead)) != target.url:
                assert not await put(url, bytes(MIN_PART_BYTES), None, target.headers)
        for one in (upload, other):
            assert await store.received_parts(one) == []

    async def test_an_upload_is_completed_once(self, store: AudioStore, put: Put) -> None:
        upload, data = await begun(store), recording()
        for number in (1, 2, 3):
            assert await send(store, put, upload, number, data)
        results = await asyncio.gather(*(store.complete_multipart(upload) for _ in range(3)), return_exceptions=True)
        assert all(result is None or isinstance(result, UploadNotFoundError) for result in results)
        assert await content(store, upload.key) == data
        with pytest.raises(UploadNotFoundError):
            await store.received_parts(upload)
        assert not await send(store, put, upload, 1, recording(seed=1))
        assert await content(store, upload.key) == data

    async def test_nothing_is_left_of_what_was_aborted(self, store: AudioStore, put: Put) -> None:
        upload, data = await begun(store), recording()
        assert await send(store, put, upload, 1, data)
        await store.abort_multipart(upload)
        await store.abort_multipart(upload)
        with pytest.raises(UploadNotFoundError):
            await store.received_parts(upload)
        with pytest.raises(UploadNotFoundError):
            await store.complete_multipart(upload)
        assert not await send(store, put, upload, 2, data)

    async def test_to_abort_what_is_complete_changes_nothing(self, store: AudioStore, put: Put) -> None:
        upload, data = await begun(store), recording()
        for number in (1, 2, 3):
            assert await send(store, put, upload, number, data)
        await store.complete_multipart(upload)
        await store.abort_multipart(upload)
        assert await content(store, upload.key) == data

    async def test_what_nobody_began_is_not_found(self, store: AudioStore) -> None:
        unknown = replace(await begun(store), key=new_key("wav"), store_id="2~unknown")
        with pytest.raises(UploadNotFoundError):
            await store.received_parts(unknown)

    @pytest.mark.parametrize("declared", ["right", "wrong"])
    async def test_a_file_in_parts_with_another_sha256_is_never_taken_for_it(
        self, store: AudioStore, put: Put, declared: str
    ) -> None:
        data = recording()
        upload = await begun(store, sha256=hashlib.sha256(data if declared == "right" else b"another").hexdigest())
        for number in (1, 2, 3):
            assert await send(store, put, upload, number, data)
        try:
            await store.complete_multipart(upload)
            assert await content(store, upload.key) == data
        except ChecksumMismatchError:
            assert declared == "wrong"
        else:
            assert declared == "right"

    @pytest.mark.parametrize("declared", ["right", "wrong"])
    async def test_a_file_with_another_sha256_is_never_taken_for_it(
        self, store: AudioStore, put: Put, declared: str
    ) -> None:
        data, key = recording(), new_key("wav")
        sha256 = hashlib.sha256(data if declared == "right" else b"another").hexdigest()
        target = await store.presign_upload(
            key, content_type="audio/wav", size_bytes=SIZE, expires_seconds=60, sha256=sha256
        )
        is_taken = await put(target.url, data, "audio/wav", target.headers)
        assert is_taken or declared == "wrong"
        if declared == "right":
            assert await content(store, key) == data
        else:
            with pytest.raises((ChecksumMismatchError, UploadMissingError)):
                await content(store, key)

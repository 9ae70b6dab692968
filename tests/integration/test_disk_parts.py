"""Uploads in parts on the disk: what is left of them when something dies, and who may touch them when."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from audio_text.adapters.disk_parts import DATA, FORGOTTEN_SECONDS, PARTS_PREFIX, PartsFolder
from audio_text.adapters.disk_store import UPLOAD_PATH, DiskAudioStore
from audio_text.adapters.disk_writing import DRAFT_PREFIX
from audio_text.domain.multipart import MultipartUpload
from audio_text.domain.object_keys import new_key
from audio_text.errors import DiskFullError, UploadIncompleteError, UploadMismatchError, UploadNotFoundError
from services.disks import draft_of_another_process

SIZE = 25


@pytest.fixture
async def store(tmp_path: Path) -> DiskAudioStore:
    store = DiskAudioStore(tmp_path / "audio", base_url="http://api.test", signing_key=b"a signing key")
    await store.prepare()
    return store


@pytest.fixture
async def upload(store: DiskAudioStore) -> MultipartUpload:
    key = new_key("wav")
    await store.begin_multipart(key, content_type=None, size_bytes=SIZE)
    return MultipartUpload(key=key, size_bytes=SIZE, part_size=10, expires=int(time.time()) + 60)


async def send(store: DiskAudioStore, upload: MultipartUpload, number: int, *pieces: bytes | Exception) -> None:
    at = urlsplit((await store.presign_part(upload, number, expires_seconds=60)).url)

    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            if isinstance(piece, Exception):
                raise piece
            yield piece

    await store.receive(
        at.path.removeprefix(UPLOAD_PATH),
        query=dict(parse_qsl(at.query)),
        content_type=None,
        content_length=None,
        body=body(),
    )


def parts_folder(tmp_path: Path, upload: MultipartUpload) -> Path:
    target = tmp_path / "audio" / upload.key
    return target.with_name(f"{PARTS_PREFIX}{target.name}")


async def test_a_part_that_breaks_off_leaves_the_one_that_was_there(
    store: DiskAudioStore, upload: MultipartUpload, tmp_path: Path
) -> None:
    await send(store, upload, 1, b"a" * 10)
    with pytest.raises(UploadMismatchError):
        await send(store, upload, 1, b"b" * 5, ConnectionResetError())
    assert await store.received_parts(upload) == [1]
    await send(store, upload, 2, b"c" * 10)
    await send(store, upload, 3, b"d" * 5)
    await store.complete_multipart(upload)
    assert await store.read_range(upload.key, 0, SIZE) == b"a" * 10 + b"c" * 10 + b"d" * 5
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [tmp_path / "audio" / upload.key]


async def test_nobody_changes_an_upload_while_another_process_does(
    store: DiskAudioStore, upload: MultipartUpload, tmp_path: Path
) -> None:
    async with asyncio.TaskGroup() as group, PartsFolder(tmp_path / "audio" / upload.key).locked():
        sent = group.create_task(send(store, upload, 1, b"a" * 10))
        await asyncio.wait([sent], timeout=0.2)
        assert not sent.done()
        assert await store.received_parts(upload) == []
    assert await store.received_parts(upload) == [1]


async def test_a_process_that_dies_while_it_copies_a_part_leaves_that_part_missing(
    store: DiskAudioStore, upload: MultipartUpload, tmp_path: Path
) -> None:
    for number, size in ((1, 10), (2, 10), (3, 5)):
        await send(store, upload, number, b"a" * size)
    (parts_folder(tmp_path, upload) / "2").unlink()  # as it stands while it is copied
    with pytest.raises(UploadIncompleteError):
        await store.complete_multipart(upload)
    assert await store.received_parts(upload) == [1, 3]


async def test_a_process_that_dies_before_it_has_tidied_up_does_no_harm(
    store: DiskAudioStore, upload: MultipartUpload, tmp_path: Path
) -> None:
    for number, size in ((1, 10), (2, 10), (3, 5)):
        await send(store, upload, number, b"a" * size)
    folder = parts_folder(tmp_path, upload)
    (folder / DATA).rename(tmp_path / "audio" / upload.key)
    with pytest.raises(UploadNotFoundError):
        await store.complete_multipart(upload)
    with pytest.raises(UploadNotFoundError):
        await send(store, upload, 1, b"b" * 10)
    await store.abort_multipart(upload)
    assert await store.read_range(upload.key, 0, SIZE) == b"a" * SIZE


async def test_an_upload_that_nobody_completes_is_removed_when_its_time_is_over(
    store: DiskAudioStore, upload: MultipartUpload, tmp_path: Path
) -> None:
    await send(store, upload, 1, b"a" * 10)
    folder = parts_folder(tmp_path, upload)
    assert await store.remove_abandoned() == 0
    at = time.time() - FORGOTTEN_SECONDS - 1
    os.utime(folder, (at, at))
    assert await store.remove_abandoned() == 1
    assert not folder.exists()
    with pytest.raises(UploadNotFoundError):
        await store.received_parts(upload)
    with pytest.raises(UploadNotFoundError):
        await send(store, upload, 2, b"a" * 10)


async def test_what_comes_in_to_a_process_that_is_killed_is_removed(
    store: DiskAudioStore, upload: MultipartUpload, tmp_path: Path
) -> None:
    with draft_of_another_process((tmp_path / "audio" / upload.key).parent, DRAFT_PREFIX) as process:
        assert await store.remove_abandoned() == 0
        process.kill()
        process.wait()
        assert await store.remove_abandoned() == 1
    assert await store.received_parts(upload) == []


async def test_an_upload_that_has_no_room_is_refused_before_its_first_part(tmp_path: Path) -> None:
    beyond = shutil.disk_usage(tmp_path).total
    store = DiskAudioStore(tmp_path, base_url="http://api.test", signing_key=b"a signing key", reserve_bytes=beyond)
    with pytest.raises(DiskFullError):
        await store.begin_multipart(new_key("wav"), content_type=None, size_bytes=SIZE)

import asyncio
import os
import shutil
import stat
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from audio_text.adapters.disk_store import DRAFT_PREFIX, UPLOAD_PATH, DiskAudioStore
from audio_text.domain.object_keys import new_key
from audio_text.errors import (
    ConfigurationError,
    DiskFullError,
    StoreUnavailableError,
    UploadLinkError,
    UploadMismatchError,
    UploadMissingError,
    UploadTooLargeError,
)
from audio_text.ports import StoredObject
from services.disks import draft_of_another_process, small_disk

MIB = 1024 * 1024


class Body:
    """A request's body that counts what is taken from it, and may break off or hang."""

    def __init__(self, *chunks: bytes, times: int = 1, end: Exception | None = None, hangs: bool = False) -> None:
        self._chunks = chunks
        self._times = times
        self._end = end
        self._hangs = hangs
        self.taken = 0
        self.is_drained = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for _ in range(self._times):
            for chunk in self._chunks:
                self.taken += len(chunk)
                yield chunk
        self.is_drained.set()
        if self._end:
            raise self._end
        if self._hangs:
            await asyncio.Event().wait()


@pytest.fixture
async def store(tmp_path: Path) -> DiskAudioStore:
    store = DiskAudioStore(tmp_path / "audio", base_url="http://api.test", signing_key=b"a signing key")
    await store.prepare()
    return store


async def upload(store: DiskAudioStore, body: Body, size: int, *, length: int | None = None) -> StoredObject:
    target = await store.presign_upload(new_key("wav"), content_type=None, size_bytes=size, expires_seconds=60)
    at = urlsplit(target.url)
    return await store.receive(
        at.path.removeprefix(UPLOAD_PATH),
        query=dict(parse_qsl(at.query, keep_blank_values=True)),
        content_type="audio/wav",
        content_length=length,
        body=aiter(body),
    )


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def test_a_large_upload_takes_no_memory(store: DiskAudioStore, tmp_path: Path) -> None:
    tracemalloc.start()
    stored = await upload(store, Body(bytes(64 * 1024), times=1_600), 100 * MIB)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (await store.stat(stored.key)).size_bytes == 100 * MIB
    assert peak < 4 * MIB


async def test_recordings_are_for_their_owner_only(store: DiskAudioStore, tmp_path: Path) -> None:
    await upload(store, Body(b"data"), 4)
    (path,) = files(tmp_path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "audio").stat().st_mode) == 0o700


async def test_an_upload_appears_only_when_it_is_whole(store: DiskAudioStore, tmp_path: Path) -> None:
    body = Body(bytes(MIB), hangs=True)
    async with asyncio.TaskGroup() as group:
        client = group.create_task(upload(store, body, 2 * MIB))
        await body.is_drained.wait()
        (unfinished,) = files(tmp_path)
        assert unfinished.suffix != ".wav"
        client.cancel()
    assert not files(tmp_path)


async def test_a_connection_that_breaks_leaves_nothing(store: DiskAudioStore, tmp_path: Path) -> None:
    with pytest.raises(UploadMismatchError):
        await upload(store, Body(bytes(MIB), end=ConnectionResetError()), 2 * MIB)
    assert not files(tmp_path)


async def test_an_upload_that_stalls_is_given_up(tmp_path: Path) -> None:
    store = DiskAudioStore(tmp_path, base_url="http://api.test", signing_key=b"a signing key", idle_seconds=0.1)
    with pytest.raises(UploadMismatchError):
        await upload(store, Body(bytes(MIB), hangs=True), 2 * MIB)
    assert not files(tmp_path)


async def test_what_is_too_large_is_not_read_to_its_end(store: DiskAudioStore, tmp_path: Path) -> None:
    body = Body(bytes(MIB), times=1_000)
    with pytest.raises(UploadTooLargeError):
        await upload(store, body, 3 * MIB)
    assert body.taken == 4 * MIB
    assert not files(tmp_path)


async def test_a_wrong_length_is_refused_before_anything_is_read(store: DiskAudioStore) -> None:
    for length, refusal in ((5, UploadTooLargeError), (3, UploadMismatchError)):
        body = Body(b"data")
        with pytest.raises(refusal):
            await upload(store, body, 4, length=length)
        assert body.taken == 0


async def test_a_disk_that_fills_up_is_said_to_be_full_and_left_as_it_was(
    store: DiskAudioStore, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "audio", 4 * MIB) as fill_up:

        async def body() -> AsyncIterator[bytes]:
            yield bytes(MIB)
            fill_up()
            for _ in range(5):
                yield bytes(MIB)

        with pytest.raises(DiskFullError, match=r"disk\.folder"):
            await store.write(new_key("wav"), content_type=None, body=body())
        assert [path.name for path in files(tmp_path) if path.name != "somebody-elses"] == []


async def test_an_upload_for_which_there_is_no_room_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    beyond = shutil.disk_usage(tmp_path).total
    store = DiskAudioStore(tmp_path, base_url="http://api.test", signing_key=b"a signing key", reserve_bytes=beyond)
    body = Body(b"data")
    with pytest.raises(DiskFullError):
        await upload(store, body, 4)
    assert body.taken == 0
    assert not files(tmp_path)


async def test_a_disk_that_is_away_is_unavailable_and_not_made_anew(store: DiskAudioStore, tmp_path: Path) -> None:
    (tmp_path / "audio").rename(tmp_path / "away")
    key = new_key("wav")
    with pytest.raises(StoreUnavailableError):
        await store.stat(key)
    with pytest.raises(StoreUnavailableError):
        await store.delete(key)
    with pytest.raises(StoreUnavailableError):
        await store.check()
    with pytest.raises(StoreUnavailableError):
        await upload(store, Body(b"data"), 4)
    assert not (tmp_path / "audio").exists()
    (tmp_path / "away").rename(tmp_path / "audio")
    await upload(store, Body(b"data"), 4)


async def test_a_folder_that_cannot_be_made_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailableError):
        await DiskAudioStore(tmp_path / "file" / "audio", base_url="http://api.test").prepare()


@pytest.mark.parametrize(
    "key", ["../secret.wav", "uploads/../../secret.wav", "/etc/passwd", "", "uploads", "uploads/\0"]
)
async def test_no_key_leads_out_of_the_folder(store: DiskAudioStore, tmp_path: Path, key: str) -> None:
    (tmp_path / "secret.wav").write_bytes(b"secret")
    with pytest.raises(UploadMissingError):
        await store.stat(key)
    with pytest.raises(UploadMissingError):
        await store.read_range(key, 0, 10)
    await store.delete(key)
    with pytest.raises(UploadLinkError):
        await store.receive(key, query={}, content_type=None, content_length=0, body=aiter(Body()))
    assert (tmp_path / "secret.wav").exists()


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"size": "4", "expires": "9999999999"},
        {"size": "4", "expires": "9999999999", "signature": ""},
        {"size": "4", "expires": "9999999999", "signature": "\udcff"},
        {"size": "four", "expires": "9999999999", "signature": "0" * 64},
        {"size": "9" * 9_999, "expires": "1e9", "signature": "é"},
    ],
)
async def test_a_link_that_makes_no_sense_is_invalid(store: DiskAudioStore, query: dict[str, str]) -> None:
    with pytest.raises(UploadLinkError):
        await store.receive(new_key("wav"), query=query, content_type=None, content_length=4, body=aiter(Body(b"data")))


async def test_a_link_signed_with_another_key_is_invalid(store: DiskAudioStore, tmp_path: Path) -> None:
    other = DiskAudioStore(tmp_path / "audio", base_url="http://api.test", signing_key=b"another key")
    target = await other.presign_upload(new_key("wav"), content_type=None, size_bytes=4, expires_seconds=60)
    at = urlsplit(target.url)
    with pytest.raises(UploadLinkError):
        await store.receive(
            at.path.removeprefix(UPLOAD_PATH),
            query=dict(parse_qsl(at.query, keep_blank_values=True)),
            content_type=None,
            content_length=4,
            body=aiter(Body(b"data")),
        )


async def test_nothing_is_signed_without_a_signing_key(tmp_path: Path) -> None:
    store = DiskAudioStore(tmp_path, base_url="http://api.test")
    with pytest.raises(ConfigurationError, match="AUDIO_TEXT_DISK_SIGNING_KEY"):
        await store.presign_upload(new_key("wav"), content_type=None, size_bytes=4, expires_seconds=60)


async def test_fetch_gives_the_stored_file_itself(store: DiskAudioStore, tmp_path: Path) -> None:
    stored = await upload(store, Body(b"data"), 4)
    async with store.fetch(stored.key) as path:
        assert [path] == files(tmp_path)
    assert [path] == files(tmp_path)


async def test_only_recordings_that_are_old_are_listed(store: DiskAudioStore, tmp_path: Path) -> None:
    assert [page async for page in store.list_older(seconds=-3_600)] == []
    old, _ = [await upload(store, Body(b"data"), 4) for _ in range(2)]
    folder = (tmp_path / "audio" / old.key).parent
    for name in ("notes.txt", ".hidden"):
        (folder / name).touch()
        age_by_a_day(folder / name)
    age_by_a_day(tmp_path / "audio" / old.key)
    assert [page async for page in store.list_older(seconds=3_600)] == [[old.key]]


async def test_a_store_that_is_away_lists_nothing(store: DiskAudioStore, tmp_path: Path) -> None:
    await upload(store, Body(b"data"), 4)
    (tmp_path / "audio").rename(tmp_path / "away")
    assert [page async for page in store.list_older(seconds=-3_600)] == []
    assert await store.remove_abandoned() == 0


async def test_an_upload_to_a_process_that_was_killed_is_removed_and_one_that_goes_on_is_not(
    store: DiskAudioStore, tmp_path: Path
) -> None:
    body = Body(bytes(MIB), hangs=True)
    async with asyncio.TaskGroup() as group:
        client = group.create_task(upload(store, body, 2 * MIB))
        await body.is_drained.wait()
        (unfinished,) = files(tmp_path)
        with draft_of_another_process(unfinished.parent, DRAFT_PREFIX) as process:
            assert len(files(tmp_path)) == 2
            assert await store.remove_abandoned() == 0
            process.kill()
            process.wait()
            assert await store.remove_abandoned() == 1
        assert files(tmp_path) == [unfinished]
        client.cancel()
    assert await store.remove_abandoned() == 0


def age_by_a_day(path: Path) -> None:
    at = path.stat().st_mtime - 86_400
    os.utime(path, (at, at))

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import httpx
import pytest
from msgspec.structs import replace

from audio_text.adapters.disk_store import UPLOAD_PATH, DiskAudioStore
from audio_text.adapters.s3_store import S3AudioStore, open_s3_store
from audio_text.adapters.s3_writing import PART_BYTES
from audio_text.domain.object_keys import new_key
from audio_text.errors import (
    AudioTextError,
    ForeignUrlError,
    InvalidRequestError,
    UploadLinkError,
    UploadMismatchError,
    UploadMissingError,
    UploadNotFoundError,
    UploadTooLargeError,
)
from audio_text.ports import AudioStore
from contracts.multipart import MultipartContract, Put
from fakes.store import FakeAudioStore
from services.s3 import S3Server

DATA = bytes(range(256)) * 4
ORIGIN = "https://app.example"


async def link(store: AudioStore, key: str, *, size: int = len(DATA), kind: str | None = "audio/mpeg") -> str:
    target = await store.presign_upload(key, content_type=kind, size_bytes=size, expires_seconds=60)
    return target.url


async def is_there(store: AudioStore, key: str) -> bool:
    try:
        await store.stat(key)
    except UploadMissingError:
        return False
    return True


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


class AudioStoreContract(MultipartContract):
    """What every store does."""

    @pytest.fixture
    def store(self) -> AudioStore:
        raise NotImplementedError

    @pytest.fixture
    def put(self) -> Put:
        raise NotImplementedError

    async def test_what_was_uploaded_can_be_read(self, store: AudioStore, put: Put) -> None:
        key = new_key("mp3")
        assert await put(await link(store, key), DATA, "audio/mpeg")
        stored = await store.stat(key)
        assert (stored.key, stored.size_bytes) == (key, len(DATA))
        async with store.fetch(key) as path:
            assert path.read_bytes() == DATA
            assert path.suffix == ".mp3"

    @pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 2 * PART_BYTES + 3])
    async def test_what_was_written_is_there_whole(self, store: AudioStore, size: int) -> None:
        key, data = new_key("mp3"), (DATA * (size // len(DATA) + 1))[:size]
        written = await store.write(key, content_type="audio/mpeg", body=pieces(data, 300_001))
        assert (written.key, written.size_bytes) == (key, size)
        assert (await store.stat(key)).size_bytes == size
        for start in (0, max(0, size - 7), min(size, PART_BYTES - 3)):
            assert await store.read_range(key, start, 7) == data[start : start + 7]

    @pytest.mark.parametrize("size", [1_000, 2 * PART_BYTES + 3])
    async def test_nothing_is_there_of_what_was_written_in_part(self, store: AudioStore, size: int) -> None:
        async def broken() -> AsyncIterator[bytes]:
            async for piece in pieces(bytes(size), 300_001):
                yield piece
            raise UploadTooLargeError

        key = new_key("mp3")
        with pytest.raises(UploadTooLargeError):
            await store.write(key, content_type=None, body=broken())
        assert not await is_there(store, key)

    async def test_the_address_of_an_object_names_its_key_and_is_no_upload_link(
        self, store: AudioStore, put: Put
    ) -> None:
        key = new_key("mp3")
        assert store.key_of(store.url_of(key)) == key
        assert not await put(store.url_of(key), DATA, "audio/mpeg")

    async def test_a_target_says_what_to_send_and_until_when(self, store: AudioStore) -> None:
        target = await store.presign_upload(new_key(""), content_type="audio/ogg", size_bytes=9, expires_seconds=600)
        assert target.headers == {"Content-Type": "audio/ogg"}
        assert abs(target.expires_at - datetime.now(UTC) - timedelta(seconds=600)) < timedelta(seconds=60)

    async def test_what_was_never_uploaded_is_missing(self, store: AudioStore) -> None:
        key = new_key("mp3")
        with pytest.raises(UploadMissingError):
            await store.stat(key)
        with pytest.raises(UploadMissingError):
            await store.read_range(key, 0, 10)
        with pytest.raises(UploadMissingError):
            async with store.fetch(key):
                pass

    @pytest.mark.parametrize("size", [len(DATA) + 1, len(DATA) - 1])
    async def test_a_link_takes_exactly_its_size(self, store: AudioStore, put: Put, size: int) -> None:
        key = new_key("mp3")
        assert not await put(await link(store, key, size=size), DATA, "audio/mpeg")
        assert not await is_there(store, key)

    @pytest.mark.parametrize("kind", ["text/html", "audio/mpeg; charset=utf-8", None])
    async def test_a_link_takes_only_its_type(self, store: AudioStore, put: Put, kind: str | None) -> None:
        key = new_key("mp3")
        assert not await put(await link(store, key), DATA, kind)
        assert not await is_there(store, key)

    @pytest.mark.parametrize("kind", [None, "audio/ogg; codecs=opus"])
    async def test_a_link_without_a_type_takes_any(self, store: AudioStore, put: Put, kind: str | None) -> None:
        key = new_key("opus")
        target = await store.presign_upload(key, content_type="", size_bytes=len(DATA), expires_seconds=60)
        assert target.headers == {}
        assert await put(target.url, DATA, kind)
        assert await is_there(store, key)

    async def test_a_type_that_browsers_report_comes_through(self, store: AudioStore, put: Put) -> None:
        for kind in ("audio/x-m4a", "video/mp4", "video/webm;codecs=vp8,opus", 'audio/x; q="a b"'):
            assert await put(await link(store, new_key("m4a"), kind=kind), DATA, kind)

    async def test_a_type_that_no_header_can_hold_is_refused(self, store: AudioStore) -> None:
        for kind in ("audio/mpeg\r\nX-Evil: 1", "audio/\udcff", "é", "a" * 300):
            with pytest.raises(InvalidRequestError):
                await link(store, new_key("mp3"), kind=kind)

    async def test_a_link_is_for_its_key_only(self, store: AudioStore, put: Put) -> None:
        key, other = new_key("mp3"), new_key("mp3")
        url = await link(store, key)
        assert not await put(url.replace(key, other), DATA, "audio/mpeg")
        assert not await is_there(store, other)

    async def test_no_part_of_a_link_may_be_altered(self, store: AudioStore, put: Put) -> None:
        key = new_key("mp3")
        url = await link(store, key)
        bare, _, query = url.partition("?")
        pairs = parse_qsl(query, keep_blank_values=True)
        for index, (name, value) in enumerate(pairs):
            altered = [*pairs]
            altered[index] = name, value[:-1] + ("1" if value[-1:] != "1" else "2")
            assert not await put(f"{bare}?{urlencode(altered)}", DATA, "audio/mpeg"), name
            del altered[index]
            assert not await put(f"{bare}?{urlencode(altered)}", DATA, "audio/mpeg"), name
        assert not await put(bare, DATA, "audio/mpeg")
        assert not await is_there(store, key)
        assert await put(url, DATA, "audio/mpeg")

    async def test_an_expired_link_takes_nothing_but_still_names_its_key(self, store: AudioStore, put: Put) -> None:
        key = new_key("mp3")
        target = await store.presign_upload(key, content_type=None, size_bytes=len(DATA), expires_seconds=1)
        await asyncio.sleep(2.1)
        assert not await put(target.url, DATA, None)
        assert not await is_there(store, key)
        assert store.key_of(target.url) == key

    async def test_a_client_may_upload_again_after_a_lost_answer(self, store: AudioStore, put: Put) -> None:
        key = new_key("mp3")
        url = await link(store, key)
        assert await put(url, DATA, "audio/mpeg")
        assert await put(url, DATA[::-1], "audio/mpeg")
        assert await store.read_range(key, 0, 3) == DATA[::-1][:3]

    async def test_a_url_that_was_handed_out_names_its_key(self, store: AudioStore) -> None:
        for extension in ("mp3", "m4a", ""):
            key = new_key(extension)
            assert store.key_of(await link(store, key)) == key

    async def test_other_urls_are_foreign(self, store: AudioStore) -> None:
        key, other = new_key("mp3"), new_key("mp3")
        url = await link(store, key)
        at = urlsplit(url)
        for foreign in (
            "",
            key,
            "file:///etc/passwd",
            "http://[::1",
            f"https://example.com/{key}",
            url.replace(at.netloc, f"{at.netloc}.example.com"),
            url.replace(at.netloc, f"{at.netloc}@example.com"),
            url.replace(at.netloc, f"user:secret@{at.netloc}"),
            url.replace(at.scheme, "ftp", 1),
            url.replace(key, ""),
            url.replace(key, "uploads/../secret"),
            url.replace(key, f"{key}/../{other}"),
            url.replace(key, f"{key}%00"),
            url.replace(key, f"/{key}"),
            url.replace(key, f"{key}#"),
            url.replace(key, key.upper()),
            url.replace(key, "settings.toml"),
            f" {url}",
        ):
            with pytest.raises(ForeignUrlError):
                store.key_of(foreign)

    async def test_any_range_can_be_read(self, store: AudioStore, put: Put) -> None:
        key = new_key("mp3")
        assert await put(await link(store, key), DATA, "audio/mpeg")
        end = len(DATA)
        for start, length in (
            (0, end),
            (0, 1),
            (100, 50),
            (end - 1, 1),
            (end - 10, 100),
            (end, 10),
            (end + 99, 1),
            (5, 0),
        ):
            assert await store.read_range(key, start, length) == DATA[start : start + length]

    async def test_deleting_twice_is_no_error(self, store: AudioStore, put: Put) -> None:
        key = new_key("mp3")
        assert await put(await link(store, key), DATA, "audio/mpeg")
        await store.delete(key)
        await store.delete(key)
        assert not await is_there(store, key)

    async def test_objects_are_listed_by_their_age_and_may_be_deleted_meanwhile(
        self, store: AudioStore, put: Put
    ) -> None:
        keys = {new_key("mp3") for _ in range(5)}
        for key in keys:
            assert await put(await link(store, key), DATA, "audio/mpeg")
        assert not keys & {key async for page in store.list_older(seconds=3_600) for key in page}
        listed: list[str] = []
        async for page in store.list_older(seconds=-3_600):  # in an hour
            listed += page
            for key in keys & set(page):
                await store.delete(key)
        assert keys <= set(listed)
        assert len(listed) == len(set(listed))
        assert not keys & {key async for page in store.list_older(seconds=-3_600) for key in page}

    async def test_nothing_is_abandoned_while_its_process_lives(self, store: AudioStore, put: Put) -> None:
        key = new_key("mp3")
        assert await put(await link(store, key), DATA, "audio/mpeg")
        async with store.fetch(key) as path:
            assert await store.remove_abandoned() == 0
            assert path.read_bytes() == DATA

    async def test_a_store_may_be_prepared_again_and_by_many_at_once(self, store: AudioStore, put: Put) -> None:
        key = new_key("mp3")
        assert await put(await link(store, key), DATA, "audio/mpeg")
        await asyncio.gather(*(store.prepare() for _ in range(5)))
        assert await is_there(store, key)
        await store.check()


class TestFakeAudioStore(AudioStoreContract):
    @pytest.fixture
    def store(self) -> FakeAudioStore:
        return FakeAudioStore()

    @pytest.fixture
    def put(self, store: FakeAudioStore) -> Put:
        async def put(url: str, data: bytes, kind: str | None, _: object = None) -> bool:
            try:
                store.upload(url, data, kind)
            except AudioTextError:
                return False
            return True

        return put


class TestDiskAudioStore(AudioStoreContract):
    @pytest.fixture
    async def store(self, tmp_path: Path) -> DiskAudioStore:
        store = DiskAudioStore(tmp_path / "audio", base_url="http://api.test:3203/", signing_key=b"a signing key")
        await store.prepare()
        return store

    @pytest.fixture
    def put(self, store: DiskAudioStore) -> Put:
        async def put(url: str, data: bytes, kind: str | None, _: object = None) -> bool:
            async def body() -> AsyncIterator[bytes]:
                for start in range(0, len(data), step := max(100, len(data) // 100)):
                    yield data[start : start + step]

            at = urlsplit(url)
            try:
                await store.receive(
                    at.path.removeprefix(UPLOAD_PATH),
                    query=dict(parse_qsl(at.query, keep_blank_values=True)),
                    content_type=kind,
                    content_length=None,
                    body=body(),
                )
            except (UploadLinkError, UploadMismatchError, UploadNotFoundError, UploadTooLargeError):
                return False
            return True

        return put


@pytest.mark.s3
class TestS3AudioStore(AudioStoreContract):
    @pytest.fixture
    def temp_folder(self, tmp_path: Path) -> Iterator[Path]:
        yield tmp_path
        assert list(tmp_path.iterdir()) == []

    @pytest.fixture
    async def store(self, s3_server: S3Server, temp_folder: Path) -> AsyncIterator[S3AudioStore]:
        async with open_s3_store(
            replace(s3_server.settings, lifecycle_days=1_000),
            access_key=s3_server.access_key,
            secret_key=s3_server.secret_key,
            cors_origins=(ORIGIN,),
            temp_folder=temp_folder,
            reserve_bytes=0,
        ) as store:
            await store.prepare()
            yield store

    @pytest.fixture
    async def put(self) -> AsyncIterator[Put]:
        async with httpx.AsyncClient(trust_env=False) as browser:

            async def put(url: str, data: bytes, kind: str | None, more: Mapping[str, str] | None = None) -> bool:
                headers = {**(more or {}), **({"Content-Type": kind} if kind else {})}
                answer = await browser.put(url, content=data, headers=headers)
                assert answer.status_code in {200, 400, 403, 404}
                return answer.status_code == 200

            yield put

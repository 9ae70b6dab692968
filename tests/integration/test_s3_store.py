import asyncio
import hashlib
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from uuid import uuid4

import aioboto3
import aiohttp
import botocore.exceptions
import httpx
import msgspec
import pytest
from structlog.testing import capture_logs

from audio_text.adapters.s3_bucket import UNFINISHED_DAYS
from audio_text.adapters.s3_client import CONFIG, s3_errors
from audio_text.adapters.s3_store import DOWNLOAD_PREFIX, S3AudioStore, open_s3_store
from audio_text.domain.multipart import MultipartUpload
from audio_text.domain.object_keys import new_key
from audio_text.errors import (
    AudioTextError,
    ConfigurationError,
    DiskFullError,
    ForeignUrlError,
    StoreUnavailableError,
    UploadMissingError,
    UploadNotFoundError,
    UploadTooLargeError,
)
from audio_text.settings import S3Settings
from factories import make_settings
from services.disks import draft_of_another_process, small_disk
from services.s3 import S3Server

ORIGIN = "https://app.example"
MIB = 1024 * 1024
DOWN = "http://127.0.0.1:9"

pytestmark = pytest.mark.s3


def open_store(settings: S3Settings, temp_folder: Path, **changes: Any) -> Any:
    arguments: dict[str, Any] = {
        "access_key": "testkey",
        "secret_key": "testsecret0123456789",
        "cors_origins": (ORIGIN,),
        "temp_folder": temp_folder,
        "reserve_bytes": 0,
    }
    return open_s3_store(settings, **(arguments | changes))


@pytest.fixture
def settings(s3_server: S3Server) -> S3Settings:
    """A bucket that does not exist yet."""
    bucket = f"bucket-{uuid4().hex[:12]}"
    return msgspec.structs.replace(s3_server.settings, bucket=bucket, lifecycle_days=1_000)


@pytest.fixture
async def store(settings: S3Settings, tmp_path: Path) -> AsyncIterator[S3AudioStore]:
    async with open_store(settings, tmp_path) as store:
        await store.prepare()
        yield store


Admin: TypeAlias = Any
"""A client of botocore's own, which has no types."""


@pytest.fixture
async def admin(s3_server: S3Server) -> AsyncIterator[Admin]:
    """A plain client of the same account: the bucket as its owner sees it."""
    session = aioboto3.Session(s3_server.access_key, s3_server.secret_key, region_name="us-east-1")
    async with session.client("s3", endpoint_url=s3_server.settings.endpoint, config=CONFIG) as client:
        yield client


@pytest.fixture
async def browser() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(trust_env=False) as browser:
        yield browser


async def upload(store: S3AudioStore, browser: httpx.AsyncClient, data: bytes, kind: str | None = None) -> str:
    key = new_key("wav")
    target = await store.presign_upload(key, content_type=kind, size_bytes=len(data), expires_seconds=60)
    (await browser.put(target.url, content=data, headers=target.headers)).raise_for_status()
    return key


async def preflight(browser: httpx.AsyncClient, store: S3AudioStore, origin: str) -> httpx.Response:
    target = await store.presign_upload(new_key("mp3"), content_type="audio/mpeg", size_bytes=9, expires_seconds=60)
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type"}
    return await browser.options(target.url, headers={"Origin": origin, **asked})


async def lifecycle(admin: Admin, bucket: str) -> list[Mapping[str, Any]]:
    return (await admin.get_bucket_lifecycle_configuration(Bucket=bucket))["Rules"]


async def test_the_content_type_is_kept(store: S3AudioStore, browser: httpx.AsyncClient) -> None:
    key = await upload(store, browser, b"data", "audio/x-m4a")
    assert (await store.stat(key)).content_type == "audio/x-m4a"


async def test_an_allowed_origin_may_upload_from_a_browser(store: S3AudioStore, browser: httpx.AsyncClient) -> None:
    answer = await preflight(browser, store, ORIGIN)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert "PUT" in answer.headers["access-control-allow-methods"]
    assert "content-type" in answer.headers["access-control-allow-headers"].lower()


async def test_another_origin_may_not(store: S3AudioStore, browser: httpx.AsyncClient) -> None:
    assert "access-control-allow-origin" not in (await preflight(browser, store, "https://evil.example")).headers


async def test_a_change_of_origins_replaces_our_rule_and_keeps_others(
    settings: S3Settings, tmp_path: Path, browser: httpx.AsyncClient, admin: Admin
) -> None:
    foreign = {
        "ID": "theirs",
        "AllowedOrigins": ["https://their.example"],
        "AllowedMethods": ["PUT"],
        "AllowedHeaders": ["*"],
    }
    async with open_store(settings, tmp_path) as store:
        await store.prepare()
        rules = (await admin.get_bucket_cors(Bucket=settings.bucket))["CORSRules"]
        await admin.put_bucket_cors(Bucket=settings.bucket, CORSConfiguration={"CORSRules": [foreign, *rules]})
    async with open_store(settings, tmp_path, cors_origins=("https://new.example",)) as store:
        await store.prepare()
        for origin, is_allowed in (
            ("https://new.example", True),
            ("https://their.example", True),
            (ORIGIN, False),
        ):
            answer = await preflight(browser, store, origin)
            assert ("access-control-allow-origin" in answer.headers) is is_allowed, origin
    async with open_store(settings, tmp_path, cors_origins=()) as store:
        await store.prepare()
        assert "access-control-allow-origin" not in (await preflight(browser, store, "https://new.example")).headers
    rules = (await admin.get_bucket_cors(Bucket=settings.bucket))["CORSRules"]
    assert [rule["ID"] for rule in rules] == ["theirs"]


async def test_without_origins_no_rule_is_left(settings: S3Settings, tmp_path: Path, admin: Admin) -> None:
    for origins in ((ORIGIN,), ()):
        async with open_store(settings, tmp_path, cors_origins=origins) as store:
            await store.prepare()
    with pytest.raises(botocore.exceptions.ClientError, match="NoSuchCORSConfiguration"):
        await admin.get_bucket_cors(Bucket=settings.bucket)


async def test_keys_that_may_only_touch_objects_are_enough_for_a_bucket_that_exists(
    s3_server: S3Server, settings: S3Settings, tmp_path: Path, browser: httpx.AsyncClient, admin: Admin
) -> None:
    access_key, secret_key = s3_server.add_user("guest")
    await admin.create_bucket(Bucket=settings.bucket)
    objects = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:ListBucket"]
    arns = [f"arn:aws:s3:::{settings.bucket}{rest}" for rest in ("", "/*")]
    principal = {"AWS": ["arn:aws:iam:::user/guest"]}
    statement = {"Effect": "Allow", "Principal": principal, "Action": objects, "Resource": arns}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    await admin.put_bucket_policy(Bucket=settings.bucket, Policy=policy)
    async with open_store(settings, tmp_path, access_key=access_key, secret_key=secret_key) as store:
        with capture_logs() as logs:
            await store.prepare()
        assert [entry["rule"] for entry in logs] == ["cors", "lifecycle"]
        await store.check()
        key = await upload(store, browser, b"data")
        assert await store.read_range(key, 0, 4) == b"data"
        await store.delete(key)


async def test_every_origin_may_be_allowed(settings: S3Settings, tmp_path: Path, browser: httpx.AsyncClient) -> None:
    async with open_store(settings, tmp_path, cors_origins=("*",)) as store:
        await store.prepare()
        answer = await preflight(browser, store, "https://any.example")
        assert answer.headers["access-control-allow-origin"] in {"*", "https://any.example"}


async def test_the_lifecycle_rule_stands_beside_others_and_follows_the_setting(
    settings: S3Settings, tmp_path: Path, admin: Admin
) -> None:
    foreign = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "theirs/"}, "Expiration": {"Days": 7}}
    async with open_store(settings, tmp_path) as store:
        await store.prepare()
        rules = await lifecycle(admin, settings.bucket)
        assert [rule["Expiration"]["Days"] for rule in rules] == [1_000]
        assert rules[0]["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == UNFINISHED_DAYS
        await admin.put_bucket_lifecycle_configuration(
            Bucket=settings.bucket, LifecycleConfiguration={"Rules": [*rules, foreign]}
        )
    for _ in range(2):
        async with open_store(msgspec.structs.replace(settings, lifecycle_days=3), tmp_path) as store:
            await store.prepare()
        rules = await lifecycle(admin, settings.bucket)
        assert sorted((rule["ID"], rule["Expiration"]["Days"]) for rule in rules) == [("audio-text", 3), ("theirs", 7)]


async def test_a_bucket_may_be_told_to_remove_only_what_was_not_written_to_its_end(
    settings: S3Settings, tmp_path: Path, admin: Admin
) -> None:
    for days in (1_000, 0, 0):
        async with open_store(msgspec.structs.replace(settings, lifecycle_days=days), tmp_path) as store:
            await store.prepare()
    [rule] = await lifecycle(admin, settings.bucket)
    assert "Expiration" not in rule
    assert rule["AbortIncompleteMultipartUpload"]["DaysAfterInitiation"] == UNFINISHED_DAYS


async def test_the_server_removes_orphans_by_itself(
    s3_server: S3Server, settings: S3Settings, tmp_path: Path, browser: httpx.AsyncClient, admin: Admin
) -> None:
    async with open_store(msgspec.structs.replace(settings, lifecycle_days=1), tmp_path) as store:
        await store.prepare()
        await admin.put_object(Bucket=settings.bucket, Key="theirs/file", Body=b"theirs")
        key = await upload(store, browser, b"forgotten")
        await drop_rules_of_other_buckets(admin, settings.bucket)
        async with asyncio.timeout(60):
            while (await admin.list_objects_v2(Bucket=settings.bucket, Prefix=key))["KeyCount"]:
                await asyncio.to_thread(s3_server.do_days_work)
        assert (await admin.head_object(Bucket=settings.bucket, Key="theirs/file"))["ContentLength"] == 6


async def test_a_declared_sha256_can_neither_be_left_out_nor_changed(
    store: S3AudioStore, browser: httpx.AsyncClient
) -> None:
    declared = {"content_type": None, "size_bytes": 4, "expires_seconds": 60}
    sha256, other = (hashlib.sha256(data).hexdigest() for data in (b"data", b"date"))
    key = new_key("wav")
    target = await store.presign_upload(key, **declared, sha256=sha256)
    changed = (await store.presign_upload(new_key("wav"), **declared, sha256=other)).headers
    assert target.headers.keys() == {"x-amz-checksum-sha256", "x-amz-meta-sha256"}
    for name in target.headers:
        for headers in (
            {**target.headers, name: changed[name]},
            {kept: text for kept, text in target.headers.items() if kept != name},
        ):
            assert (await browser.put(target.url, content=b"date", headers=headers)).status_code == 403, headers
    with pytest.raises(UploadMissingError):
        await store.stat(key)


async def test_what_the_server_takes_only_in_parts_gets_no_link_for_one_piece(store: S3AudioStore) -> None:
    with pytest.raises(UploadTooLargeError, match="in parts"):
        await store.presign_upload(new_key("wav"), content_type=None, size_bytes=6 * 1024**3, expires_seconds=60)


async def test_the_server_gives_up_uploads_in_parts_that_nobody_completes(
    s3_server: S3Server, settings: S3Settings, tmp_path: Path, browser: httpx.AsyncClient, admin: Admin
) -> None:
    async with open_store(msgspec.structs.replace(settings, lifecycle_days=0), tmp_path) as store:
        await store.prepare()
        key = new_key("wav")
        store_id = await store.begin_multipart(key, content_type=None, size_bytes=4)
        upload = MultipartUpload(key=key, size_bytes=4, part_size=4, expires=0, store_id=store_id)
        target = await store.presign_part(upload, 1, expires_seconds=60)
        (await browser.put(target.url, content=b"data")).raise_for_status()
        assert await store.received_parts(upload) == [1]
        await drop_rules_of_other_buckets(admin, settings.bucket)
        async with asyncio.timeout(60):
            while "Uploads" in await admin.list_multipart_uploads(Bucket=settings.bucket):
                await asyncio.to_thread(s3_server.do_days_work)
        with pytest.raises(UploadNotFoundError):
            await store.received_parts(upload)


async def test_more_parts_than_the_server_lists_at_once_are_seen(
    store: S3AudioStore, settings: S3Settings, admin: Admin
) -> None:
    key, count = new_key("wav"), 1_003
    store_id = await store.begin_multipart(key, content_type=None, size_bytes=count)
    upload = MultipartUpload(key=key, size_bytes=count, part_size=1, expires=0, store_id=store_id)
    target = {"Bucket": settings.bucket, "Key": key, "UploadId": store_id, "Body": b"x"}
    for number in range(1, count + 1):
        await admin.upload_part(**target, PartNumber=number)
    assert await store.received_parts(upload) == list(range(1, count + 1))


async def drop_rules_of_other_buckets(admin: Admin, bucket: str) -> None:
    """A day's work of this server is one bucket."""
    for other in (await admin.list_buckets())["Buckets"]:
        if other["Name"] != bucket:
            await admin.delete_bucket_lifecycle(Bucket=other["Name"])


async def test_preparing_again_writes_nothing(settings: S3Settings, tmp_path: Path) -> None:
    async with open_store(settings, tmp_path, cors_origins=("https://b.example", "https://a.example")) as store:
        await store.prepare()
        methods: list[str] = []
        events = store._client.meta.events
        events.register("before-send.s3", lambda request, **_: methods.append(request.method))
        await store.prepare()
        assert methods == ["HEAD", "GET", "GET"]


async def test_many_processes_may_prepare_a_new_bucket_at_once(
    settings: S3Settings, tmp_path: Path, admin: Admin
) -> None:
    async def prepare() -> None:
        async with open_store(settings, tmp_path) as store:
            await store.prepare()

    await asyncio.gather(*(prepare() for _ in range(6)))
    assert len(await lifecycle(admin, settings.bucket)) == 1
    assert len((await admin.get_bucket_cors(Bucket=settings.bucket))["CORSRules"]) == 1


async def test_a_bucket_may_lie_in_another_region(s3_server: S3Server, settings: S3Settings, tmp_path: Path) -> None:
    elsewhere = msgspec.structs.replace(settings, region="eu-central-1")
    async with open_store(elsewhere, tmp_path) as store:
        await store.prepare()
        await store.check()


async def test_a_store_opens_while_its_server_is_down_and_says_so(settings: S3Settings, tmp_path: Path) -> None:
    async with open_store(msgspec.structs.replace(settings, endpoint=DOWN), tmp_path) as store:
        target = await store.presign_upload(new_key("mp3"), content_type=None, size_bytes=1, expires_seconds=60)
        assert target.url.startswith(DOWN)
        for attempt in (store.prepare(), store.check(), store.stat("key"), store.delete("key")):
            with pytest.raises(StoreUnavailableError):
                await attempt


async def test_a_store_recovers_when_its_server_is_back(
    s3_server: S3Server, store: S3AudioStore, browser: httpx.AsyncClient
) -> None:
    key = await upload(store, browser, b"data")
    s3_server.kill()
    try:
        with pytest.raises(StoreUnavailableError):
            await store.stat(key)
        with pytest.raises(StoreUnavailableError):
            await store.check()
    finally:
        s3_server.start()
    assert await store.read_range(key, 0, 4) == b"data"


async def test_a_download_that_breaks_off_leaves_nothing(
    s3_server: S3Server, store: S3AudioStore, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    key = await upload(store, browser, bytes(64 * MIB))
    try:
        with pytest.raises(StoreUnavailableError):
            await asyncio.gather(fetched_size(store, key), once_it_began(tmp_path, s3_server.kill))
    finally:
        s3_server.start()
    assert files(tmp_path) == []


async def test_a_cancelled_download_leaves_nothing(
    store: S3AudioStore, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    key = await upload(store, browser, bytes(64 * MIB))
    async with asyncio.TaskGroup() as group:
        download = group.create_task(fetched_size(store, key))
        await once_it_began(tmp_path, download.cancel)
    assert download.cancelled()
    assert files(tmp_path) == []


async def once_it_began(folder: Path, act: Callable[[], object]) -> None:
    while not any(path.stat().st_size for path in files(folder)):
        await asyncio.sleep(0)
    act()


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def fetched_size(store: S3AudioStore, key: str) -> int:
    async with store.fetch(key) as path:
        return path.stat().st_size


async def test_a_copy_is_gone_when_the_work_on_it_fails(
    store: S3AudioStore, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    key = await upload(store, browser, b"data")

    async def work() -> None:
        async with store.fetch(key):
            assert files(tmp_path)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await work()
    assert files(tmp_path) == []


async def test_a_full_temp_folder_is_said_to_be_full(
    store: S3AudioStore, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    key = await upload(store, browser, bytes(3 * MIB))
    with small_disk(tmp_path, 2 * MIB), pytest.raises(DiskFullError, match=r"worker\.temp_folder"):
        await fetched_size(store, key)
    assert files(tmp_path) == []


async def test_a_disk_that_fills_up_during_a_download_is_said_to_be_full(
    store: S3AudioStore, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    key = await upload(store, browser, bytes(64 * MIB))
    with small_disk(tmp_path, 80 * MIB) as fill_up:
        with pytest.raises(DiskFullError):
            await asyncio.gather(fetched_size(store, key), once_it_began(tmp_path, fill_up))
        assert [path.name for path in files(tmp_path) if path.name != "somebody-elses"] == []


async def test_a_download_leaves_some_room_for_others(
    settings: S3Settings, browser: httpx.AsyncClient, tmp_path: Path
) -> None:
    async with open_store(settings, tmp_path, reserve_bytes=shutil.disk_usage(tmp_path).total) as store:
        await store.prepare()
        key = await upload(store, browser, b"data")
        with pytest.raises(DiskFullError):
            await fetched_size(store, key)
    assert files(tmp_path) == []


async def test_the_download_of_a_killed_process_is_removed_and_that_of_a_frozen_one_kept(
    store: S3AudioStore, tmp_path: Path
) -> None:
    (tmp_path / "somebody-elses").touch()
    (tmp_path / f"{DOWNLOAD_PREFIX}link").symlink_to(tmp_path / "somebody-elses")
    os.mkfifo(tmp_path / f"{DOWNLOAD_PREFIX}fifo")
    others = set(files(tmp_path))
    with draft_of_another_process(tmp_path, DOWNLOAD_PREFIX) as process:
        process.send_signal(signal.SIGSTOP)
        await store.remove_abandoned()
        assert len(set(files(tmp_path)) - others) == 1
        process.kill()
        process.wait()
        assert await store.remove_abandoned() == 1
    assert set(files(tmp_path)) <= others
    assert (tmp_path / "somebody-elses").exists()


@pytest.mark.parametrize("wrong", [{"access_key": "nobody"}, {"secret_key": "wrong"}])
async def test_refused_keys_are_named_by_their_variables(
    store: S3AudioStore, settings: S3Settings, tmp_path: Path, wrong: dict[str, str]
) -> None:
    async with open_store(settings, tmp_path, **wrong) as refused:
        for attempt in (refused.prepare(), refused.check(), refused.stat("key"), refused.read_range("key", 0, 1)):
            with pytest.raises(StoreUnavailableError, match="AUDIO_TEXT_S3_ACCESS_KEY and AUDIO_TEXT_S3_SECRET_KEY"):
                await attempt


async def test_a_bucket_that_is_gone_is_unavailable(settings: S3Settings, tmp_path: Path) -> None:
    async with open_store(settings, tmp_path) as store:
        with pytest.raises(StoreUnavailableError, match=settings.bucket):
            await store.check()
        with pytest.raises(StoreUnavailableError, match=settings.bucket):
            await store.read_range("key", 0, 1)


async def test_links_lead_to_the_public_address(
    settings: S3Settings, tmp_path: Path, browser: httpx.AsyncClient
) -> None:
    public = settings.endpoint.replace("127.0.0.1", "localhost")
    async with open_store(msgspec.structs.replace(settings, public_endpoint=public), tmp_path) as store:
        await store.prepare()
        key = new_key("mp3")
        target = await store.presign_upload(key, content_type=None, size_bytes=4, expires_seconds=60)
        assert target.url.startswith(public)
        (await browser.put(target.url, content=b"data")).raise_for_status()
        assert store.key_of(target.url) == key
        assert (await store.stat(key)).size_bytes == 4


async def test_amazons_own_addresses_are_ours_only_for_our_bucket(tmp_path: Path) -> None:
    settings = make_settings({"s3.bucket": "ours", "s3.region": "eu-central-1"}).s3
    key = new_key("mp3")
    async with open_store(settings, tmp_path) as store:
        target = await store.presign_upload(key, content_type=None, size_bytes=4, expires_seconds=60)
        for url in (
            target.url,
            f"https://ours.s3.eu-central-1.amazonaws.com/{key}?X-Amz-Signature=1",
            f"https://ours.s3.amazonaws.com/{key}",
            f"https://s3.eu-central-1.amazonaws.com/ours/{key}",
            f"https://s3.amazonaws.com/ours/{key}",
        ):
            assert store.key_of(url) == key
        for url in (
            f"http://ours.s3.amazonaws.com/{key}",
            f"https://theirs.s3.amazonaws.com/{key}",
            f"https://s3.amazonaws.com/theirs/{key}",
            f"https://s3.us-west-2.amazonaws.com/ours/{key}",
        ):
            with pytest.raises(ForeignUrlError):
                store.key_of(url)


async def test_an_endpoint_that_is_no_address_is_a_configuration_error(settings: S3Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"\[s3\]"):
        async with open_store(msgspec.structs.replace(settings, endpoint="not an address"), tmp_path):
            pass


def vendor_errors() -> list[Exception]:
    """One of each kind that botocore, aiohttp and the system raise, their arguments made up."""
    codes = ["AccessDenied", "NoSuchKey", "404", "403", "NoSuchBucket", "RequestTimeTooSkewed", "SlowDown", ""]
    answers = [{"Error": {"Code": code}} for code in codes]
    declared = [*vars(botocore.exceptions).values(), *vars(aiohttp).values()]
    roots = (botocore.exceptions.BotoCoreError, aiohttp.ClientError)
    kinds = [kind for kind in declared if isinstance(kind, type) and issubclass(kind, roots)]
    return [
        *(botocore.exceptions.ClientError(answer, "GetObject") for answer in [*answers, {}]),
        *(kind.__new__(kind) for kind in kinds),
        TimeoutError(),
        ConnectionResetError(),
        PermissionError(),
    ]


@pytest.mark.parametrize("error", vendor_errors(), ids=lambda error: type(error).__name__)
def test_no_error_of_the_vendor_escapes(error: Exception) -> None:
    with pytest.raises(AudioTextError) as caught, s3_errors("bucket"):
        raise error
    assert isinstance(caught.value, StoreUnavailableError | UploadMissingError)

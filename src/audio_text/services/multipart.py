"""Use cases of uploads in parts. Nothing is kept here: an upload's id says all of it, and the store has its parts."""

import asyncio
import time
from collections.abc import Sequence

import msgspec

from audio_text.domain.access import Caller
from audio_text.domain.multipart import UNFINISHED_SECONDS, MultipartUpload, check_part_size, usual_part_size
from audio_text.domain.object_keys import new_key
from audio_text.errors import UploadMissingError, UploadNotFoundError
from audio_text.ports import AudioStore, UploadTarget
from audio_text.services.uploads import UploadService, sees_upload
from audio_text.settings import UploadSettings


class UploadState(msgspec.Struct, frozen=True, kw_only=True):
    """An upload as it stands: which parts are there, or that it is complete. `url` is what a job is submitted with."""

    id: str
    url: str
    upload: MultipartUpload
    received: Sequence[int] = ()
    is_complete: bool = False


class MultipartService:
    """Uploads in parts, from any process: all that they must share is `secret`.

    To callers of another owner than who began an upload, it does not exist.
    """

    def __init__(self, *, store: AudioStore, settings: UploadSettings, secret: str) -> None:
        self._store = store
        self._uploads = UploadService(store=store, settings=settings)
        self._settings = settings
        self._secret = secret

    async def begin(
        self,
        *,
        filename: str,
        content_type: str | None,
        size_bytes: int,
        sha256: str | None = None,
        part_size: int | None = None,
        caller: Caller,
    ) -> UploadState:
        """Begin an upload. Its name decides whether it is accepted; `sha256` is in hexadecimal.

        Raises UnsupportedMediaError, UploadTooLargeError, EmptyAudioError, InvalidRequestError for a part size that no
        store takes, DiskFullError, StoreUnavailableError.
        """
        key = new_key(self._uploads.check_extension(filename), owner=caller.owner)
        self._uploads.check_size(size_bytes)
        part_size = part_size or usual_part_size(size_bytes)
        check_part_size(part_size, size_bytes)
        expires = int(time.time()) + UNFINISHED_SECONDS
        sha256 = sha256.lower() if sha256 else None
        store_id = await self._store.begin_multipart(
            key, content_type=content_type or None, size_bytes=size_bytes, sha256=sha256
        )
        return self._state(
            MultipartUpload(
                key=key,
                size_bytes=size_bytes,
                part_size=part_size,
                expires=expires,
                store_id=store_id,
                sha256=sha256 or "",
            )
        )

    async def sign(self, upload_id: str, numbers: Sequence[int], *, caller: Caller) -> list[UploadTarget]:
        """Links for these parts, in their order. Raises UploadNotFoundError, InvalidRequestError for no such part."""
        upload = self._upload(upload_id, caller)
        expires_seconds = min(self._settings.expires_seconds, max(1, upload.expires - int(time.time())))
        targets: list[UploadTarget] = []
        for number in numbers:
            targets.append(await self._store.presign_part(upload, number, expires_seconds=expires_seconds))
            await asyncio.sleep(0)  # a signature takes half a millisecond, in which nobody else is served
        return targets

    async def read(self, upload_id: str, *, caller: Caller) -> UploadState:
        """Which parts are there. Raises UploadNotFoundError when it is neither in progress nor complete."""
        upload = self._upload(upload_id, caller)
        try:
            return self._state(upload, received=await self._store.received_parts(upload))
        except UploadNotFoundError:
            return await self._completed(upload)

    async def complete(self, upload_id: str, *, caller: Caller) -> UploadState:
        """Make the file of its parts; safe to repeat.

        Raises UploadIncompleteError, ChecksumMismatchError where the store itself compares, UploadNotFoundError.
        """
        upload = self._upload(upload_id, caller)
        try:
            await self._store.complete_multipart(upload)
        except UploadNotFoundError:
            return await self._completed(upload)
        return self._state(upload, is_complete=True)

    async def abort(self, upload_id: str, *, caller: Caller) -> None:
        """Remove the parts; safe to repeat, and nothing happens to what is complete. Raises UploadNotFoundError."""
        await self._store.abort_multipart(self._known(upload_id, caller))

    def _known(self, upload_id: str, caller: Caller) -> MultipartUpload:
        """Raises UploadNotFoundError for what was never begun, or by another owner."""
        upload = MultipartUpload.from_token(upload_id, self._secret)
        if not sees_upload(caller, upload.key):
            raise UploadNotFoundError
        return upload

    def _upload(self, upload_id: str, caller: Caller) -> MultipartUpload:
        upload = self._known(upload_id, caller)
        if time.time() >= upload.expires:
            raise UploadNotFoundError
        return upload

    async def _completed(self, upload: MultipartUpload) -> UploadState:
        """An upload that is not in progress any more. Raises UploadNotFoundError unless it was completed."""
        try:
            await self._store.stat(upload.key)
        except UploadMissingError as error:
            raise UploadNotFoundError from error
        return self._state(upload, is_complete=True)

    def _state(
        self, upload: MultipartUpload, *, received: Sequence[int] = (), is_complete: bool = False
    ) -> UploadState:
        return UploadState(
            id=upload.token(self._secret),
            url=self._store.url_of(upload.key),
            upload=upload,
            received=range(1, upload.part_count + 1) if is_complete else received,
            is_complete=is_complete,
        )

"""Use case: hand out a place to upload a recording to."""

from audio_text.domain.keys import new_key
from audio_text.domain.media import extension_of
from audio_text.errors import EmptyAudioError, UnsupportedMediaError, UploadTooLargeError
from audio_text.ports import AudioStore, UploadTarget
from audio_text.settings import UploadSettings


class UploadService:
    """Presigned uploads, bound to what the client declared."""

    def __init__(self, *, store: AudioStore, settings: UploadSettings) -> None:
        self._store = store
        self._settings = settings

    async def create(self, *, filename: str, content_type: str | None, size_bytes: int) -> UploadTarget:
        """Make a PUT target for a file. Its name is only a label; its extension decides whether it is accepted.

        The content type is what the browser says and is bound, not judged: browsers report `video/mp4` for
        m4a and nothing at all for opus. Raises UnsupportedMediaError, UploadTooLargeError, EmptyAudioError.
        """
        extension = self.check_extension(filename)
        self.check_size(size_bytes)
        return await self._store.presign_upload(
            new_key(extension),
            content_type=content_type or None,
            size_bytes=size_bytes,
            expires_seconds=self._settings.expires_seconds,
        )

    def check_extension(self, filename: str) -> str:
        """Return the lower-case extension. Raises UnsupportedMediaError when it is not accepted."""
        extension = extension_of(filename)
        if extension not in self._settings.extensions:
            found = f"'.{extension}' files are" if extension else "A file without an extension is"
            accepted = ", ".join(self._settings.extensions)
            raise UnsupportedMediaError(f"{found} not accepted here. Accepted: {accepted}.")
        return extension

    def check_size(self, size_bytes: int) -> None:
        """Raise UploadTooLargeError or EmptyAudioError for a size that is not accepted."""
        if size_bytes > self._settings.max_bytes:
            raise UploadTooLargeError(
                f"The file has {size_bytes} bytes; this service accepts at most {self._settings.max_bytes}."
            )
        if size_bytes == 0:
            raise EmptyAudioError

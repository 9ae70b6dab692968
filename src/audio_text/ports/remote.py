"""Recordings and receivers elsewhere, at addresses that clients name."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from audio_text.domain.urls import WebUrl


class RemoteLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What one exchange with somebody else's server may cost: all of its time, the bytes of its answer, its detours."""

    seconds: float
    max_bytes: int
    redirects: int = 0


class RemoteAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody else's server said. Names of headers are in lower case; a longer body was cut off."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class RemoteResponse(msgspec.Struct, frozen=True, kw_only=True):
    """The beginning of an answer, from `url` in the end; `pieces` is its body, as it comes and never decompressed."""

    url: WebUrl
    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class RemoteHttp(Protocol):
    """Talks to addresses that clients name, and to no address that only we can reach.

    Every method may raise RemoteUrlError, PrivateAddressError, RemoteAnswerError and RemoteUnavailableError; what an
    answer's status means is for whoever asked.
    """

    async def check(self, url: str) -> None:
        """Raise RemoteUrlError or PrivateAddressError where nothing would be sent; what cannot be known now passes."""
        ...

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes, limits: RemoteLimits) -> RemoteAnswer:
        """Send a body. Redirects are answers like any other."""
        ...

    def stream(
        self, url: str, *, headers: Mapping[str, str] | None = None, limits: RemoteLimits
    ) -> AbstractAsyncContextManager[RemoteResponse]:
        """Get what is there, following redirects; `seconds` also bound the time in which the body is taken.

        `pieces` raise UploadTooLargeError when there are too many bytes, as does this where the server says so itself.
        """
        ...


class BucketResponse(msgspec.Struct, frozen=True, kw_only=True):
    """An object of somebody else's bucket; `pieces` is its body, as it comes."""

    size_bytes: int
    content_type: str | None
    pieces: AsyncIterator[bytes]


class RemoteBuckets(Protocol):
    """Buckets beside our own, read with our keys."""

    def stream(self, bucket: str, key: str) -> AbstractAsyncContextManager[BucketResponse]:
        """Get an object.

        Raises RemoteRefusedError when it is not there or not for us, RemoteUnavailableError.
        """
        ...

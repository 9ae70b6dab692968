"""Uploads in parts: how a file is parted, and the token that is all that anybody has to remember of an upload."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Container, Iterable, Iterator
from itertools import groupby

import msgspec

from audio_text.errors import ConfigurationError, InvalidRequestError, UploadNotFoundError

MIB = 1024 * 1024
MIN_PART_BYTES, MAX_PART_BYTES = 5 * MIB, 5 * 1024 * MIB
MOST_PARTS = 10_000
"""S3's limits; the last part of a file may be smaller."""

USUAL_PART_BYTES = 16 * MIB
"""Little enough to send again over a bad line, and enough to keep a good one busy."""

USUAL_PARTS = 1_000
"""Of a file for which that would be more, the parts are larger."""

UNFINISHED_SECONDS = 86_400
"""How long an upload may take. The stores remove what is unfinished and older."""

SHOWN_RANGES = 20

_DIGEST_BYTES = hashlib.sha256().digest_size
_PURPOSE = b"audio-text uploads in parts"


class MultipartUpload(msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True):
    """A file that comes in parts. All have `part_size` bytes but the last, which has the rest; they count from 1.

    `store_id` is what the store calls the upload, `expires` Unix time in seconds, `sha256` that of the whole file in
    hexadecimal (empty: not declared).
    """

    key: str
    size_bytes: int
    part_size: int
    expires: int
    store_id: str = ""
    sha256: str = ""

    @property
    def part_count(self) -> int:
        """How many parts the file has."""
        return -(-self.size_bytes // self.part_size)

    def offset_of(self, number: int) -> int:
        """Where in the file a part begins."""
        return (number - 1) * self.part_size

    def size_of(self, number: int) -> int:
        """How many bytes a part has. Raises InvalidRequestError when there is no such part."""
        if not 1 <= number <= self.part_count:
            raise InvalidRequestError(f"There is no part {number}: this upload has the parts 1 to {self.part_count}.")
        return min(self.part_size, self.size_bytes - self.offset_of(number))

    def missing(self, received: Container[int]) -> list[int]:
        """The numbers of the parts that have not been received."""
        return [number for number in range(1, self.part_count + 1) if number not in received]

    def token(self, secret: str) -> str:
        """All of this in a text that only we can write, fit for a URL. Raises ConfigurationError for no secret."""
        content = msgspec.msgpack.encode(self)
        return base64.urlsafe_b64encode(_signature(content, secret) + content).decode().rstrip("=")

    @classmethod
    def from_token(cls, token: str, secret: str) -> "MultipartUpload":
        """Read it back. Raises UploadNotFoundError for a text that we did not write."""
        try:
            packed = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (ValueError, binascii.Error) as error:
            raise UploadNotFoundError from error
        signature, content = packed[:_DIGEST_BYTES], packed[_DIGEST_BYTES:]
        if not hmac.compare_digest(signature, _signature(content, secret)):
            raise UploadNotFoundError
        return msgspec.msgpack.decode(content, type=cls)


def usual_part_size(size_bytes: int) -> int:
    """The part size of a file for which the client names none: whole MiB, at most USUAL_PARTS of them."""
    return max(USUAL_PART_BYTES, -(-size_bytes // (USUAL_PARTS * MIB)) * MIB)


def check_part_size(part_size: int, size_bytes: int) -> None:
    """Raise InvalidRequestError for what no store takes."""
    if not MIN_PART_BYTES <= part_size <= MAX_PART_BYTES:
        raise InvalidRequestError(f"`part_size` is {part_size}: it must be {MIN_PART_BYTES} to {MAX_PART_BYTES} bytes.")
    if size_bytes > part_size * MOST_PARTS:
        raise InvalidRequestError(f"With a `part_size` of {part_size} the file has more than {MOST_PARTS} parts.")


def in_words(numbers: Iterable[int]) -> str:
    """Ascending numbers as a person would write them: `1, 4-7, 9`; cut off when there are very many."""
    ranges = list(_ranges(numbers))
    shown = ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in ranges[:SHOWN_RANGES])
    return f"{shown}, ..." if len(ranges) > SHOWN_RANGES else shown


def _ranges(numbers: Iterable[int]) -> Iterator[tuple[int, int]]:
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        found = [number for _, number in group]
        yield found[0], found[-1]


def _signature(content: bytes, secret: str) -> bytes:
    """HMAC-SHA256 with a key of its own, so that no other use of the secret signs an upload."""
    if not secret:
        raise ConfigurationError("The store's secret is not set: uploads in parts cannot be signed.")
    key = hmac.digest(secret.encode(), _PURPOSE, "sha256")
    return hmac.digest(key, content, "sha256")

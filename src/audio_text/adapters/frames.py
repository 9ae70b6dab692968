"""Messages over a socket pair, to and from a child process: their length in bytes, then they, in MessagePack."""

from struct import Struct

import msgspec

LENGTH = Struct("!I")

MARGIN_BYTES = 1024
"""What a message takes beside the data that it carries, at most."""

_encoder = msgspec.msgpack.Encoder()


def frame(message: msgspec.Struct) -> bytes:
    """The message as it goes over the socket."""
    body = _encoder.encode(message)
    return LENGTH.pack(len(body)) + body


def body_length(header: bytes, *, longest: int) -> int:
    """How many bytes follow a frame's header. Raises ValueError for a frame that nobody of ours sends."""
    length: int = LENGTH.unpack(header)[0]
    if length > longest:
        raise ValueError("the frame is too long")
    return length

"""What a worker and the child process that decodes say to each other, in frames."""

from enum import Enum
from typing import TypeAlias

import msgspec

from audio_text.adapters.frames import MARGIN_BYTES

RECORDING = b"\0"
"""Parent, before anything else: the byte with which the open file of the recording comes."""

SAMPLE_RATE = 16_000
"""Of all sound that is sent: what Whisper hears."""

LONGEST_PIECE = 1024 * 1024
"""Bytes of sound in one frame: a second of 32 channels. What is longer comes in several."""

LONGEST_FRAME = LONGEST_PIECE + MARGIN_BYTES


class Hear(msgspec.Struct, frozen=True, tag=True):
    """Parent: decode from there on, mixed or each channel by itself, and leave out the first `skip` samples."""

    begin: float
    skip: int
    by_channel: bool


class Opened(msgspec.Struct, frozen=True, tag=True):
    """Child: this is the sound track; its length in seconds is None where the container does not say it."""

    channels: int
    stated_seconds: float | None


class Piece(msgspec.Struct, frozen=True, tag=True):
    """Child: the next 16-bit samples, and how far the file was read for them; none as a sign of life."""

    sound: bytes
    bytes_read: int


class Finished(msgspec.Struct, frozen=True, tag=True):
    """Child: that was all."""


class Fault(Enum):
    """Why there is nothing, or nothing more."""

    empty = "empty"
    invalid = "invalid"
    no_sound_track = "no_sound_track"
    unreadable = "unreadable"


class Failed(msgspec.Struct, frozen=True, tag=True):
    """Child: it cannot be decoded, or no further; `reason` is for the log."""

    fault: Fault
    reason: str


FromChild: TypeAlias = Opened | Piece | Finished | Failed

decode_from_parent = msgspec.msgpack.Decoder(Hear).decode
decode_from_child = msgspec.msgpack.Decoder[FromChild](FromChild).decode

"""What the probe and its child process say to each other, in frames."""

from enum import Enum
from typing import TypeAlias

import msgspec

from audio_text.adapters.frames import MARGIN_BYTES
from audio_text.domain.transcript import AudioFacts

BLOCK_BYTES = 256 * 1024
"""One request to the store; all nine formats need one or two, whatever their length."""

LONGEST_FRAME = BLOCK_BYTES + MARGIN_BYTES


class Ask(msgspec.Struct, frozen=True, tag=True):
    """Parent: look at an object of that size."""

    size_bytes: int


class Block(msgspec.Struct, frozen=True, tag=True):
    """Parent: what was wanted; empty means there is no more."""

    data: bytes


class Want(msgspec.Struct, frozen=True, tag=True):
    """Child: give me block number `index`, of BLOCK_BYTES each."""

    index: int


class Found(msgspec.Struct, frozen=True, tag=True):
    """Child: this is what it is."""

    facts: AudioFacts


class Fault(Enum):
    """Why an object is not a recording."""

    invalid = "invalid"
    no_sound_track = "no_sound_track"


class Refused(msgspec.Struct, frozen=True, tag=True):
    """Child: this is no recording."""

    fault: Fault


FromParent: TypeAlias = Ask | Block
FromChild: TypeAlias = Want | Found | Refused

decode_from_parent = msgspec.msgpack.Decoder[FromParent](FromParent).decode
decode_from_child = msgspec.msgpack.Decoder[FromChild](FromChild).decode

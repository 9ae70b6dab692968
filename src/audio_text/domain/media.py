"""What a file may be: its extension, and the containers that are opened at all."""

import re
from collections.abc import Iterator, Mapping

from audio_text.errors import InvalidRequestError

DEMUXERS = ("aac", "flac", "matroska", "mov", "mp3", "ogg", "wav")
"""FFmpeg's names of the containers of mp3, wav, m4a, mp4, flac, ogg, opus, aac and webm.

What is not here is never opened, whatever a file calls itself: playlists and session descriptions
(hls, dash, concat, sdp) would make FFmpeg read other files and addresses in the client's name.
"""

DEMUXER_OPTIONS: Mapping[str, str] = {
    "format_whitelist": ",".join(DEMUXERS),
    # no protocol has this name: a second wall, should an allowed container refer to another file
    "protocol_whitelist": "none",
    # while it looks at the streams FFmpeg would decode pictures with any of its decoders, over bytes that
    # anybody may have made; only a raw AAC stream cannot be understood without
    "codec_whitelist": "aac",
}
"""FFmpeg options for opening what a client sent, from a Python file object (a path would need a protocol).

They bind the demuxer; who decodes the sound track afterwards does so with that track's own decoder.
"""

CODECS = frozenset(
    [
        *("aac", "ac3", "alac", "eac3", "flac", "mp1", "mp2", "mp3", "opus", "speex", "vorbis", "wmav1", "wmav2"),
        *("adpcm_ima_qt", "adpcm_ima_wav", "adpcm_ms", "adpcm_yamaha", "amr_nb", "amr_wb", "gsm_ms"),
        *("pcm_alaw", "pcm_mulaw", "pcm_f32be", "pcm_f32le", "pcm_f64be", "pcm_f64le", "pcm_s8", "pcm_u8"),
        *("pcm_s16be", "pcm_s16le", "pcm_s24be", "pcm_s24le", "pcm_s32be", "pcm_s32le"),
    ]
)
"""FFmpeg's names of what is decoded: what recorders, telephones and editors write into those containers.

FFmpeg knows 200 more, of games and machines long gone, whose decoders nobody looks at but those who look for faults.
"""

SAMPLE_RATES = range(1_000, 1_000_001)
"""A second; studios record at up to 768 000. Below, one frame would be hours of sound."""

MOST_CHANNELS = 64
"""What FFmpeg can mix."""

_ALIASES = {"mpeg": "mp3", "mpga": "mp3", "oga": "ogg"}
"""Names that files of an accepted kind go by elsewhere."""

_TYPES = {
    "mpeg": "mp3",
    "mp3": "mp3",
    "mpga": "mp3",
    "wav": "wav",
    "wave": "wav",
    "vnd.wave": "wav",
    "flac": "flac",
    "mp4": "m4a",
    "m4a": "m4a",
    "aac": "aac",
    "aacp": "aac",
    "ogg": "ogg",
    "opus": "opus",
    "webm": "webm",
}
"""Subtypes of audio/ and video/, without `x-`, and the extension of such files."""

_BEGINNINGS = (
    (re.compile(rb"RIFF....WAVE", re.DOTALL), "wav"),
    (re.compile(rb"fLaC"), "flac"),
    (re.compile(rb"OggS"), "ogg"),
    (re.compile(rb"\x1a\x45\xdf\xa3"), "webm"),
    (re.compile(rb"....ftyp", re.DOTALL), "m4a"),
    (re.compile(rb"ID3|\xff[\xe2\xe3\xf2\xf3\xfa\xfb]"), "mp3"),
    (re.compile(rb"\xff[\xf0\xf1\xf8\xf9]"), "aac"),
)
"""How files of these kinds begin."""

BEGINNING_BYTES = 12
"""How much of a file tells its kind."""

_MEDIA_TYPE = re.compile(r"[!-~][ -~]{0,254}")
_SEPARATORS = re.compile(r"[/\\]")
_EXTENSION = re.compile(r"[a-z0-9]{1,16}")


def is_extension(text: str) -> bool:
    """Whether a file of some kind may end so: in lower case, and without its dot."""
    return _EXTENSION.fullmatch(text) is not None


def extension_of(filename: str) -> str:
    """The extension in lower case without its dot; empty when there is none that could be a kind of file.

    Only what follows the last path separator of any system counts, so that no path trick matters.
    """
    name = _SEPARATORS.split(filename)[-1].strip()
    stem, _, extension = name.rpartition(".")
    extension = extension.lower()
    return extension if stem and is_extension(extension) else ""


def possible_extensions(filename: str, content_type: str | None, beginning: bytes) -> Iterator[str]:
    """What kind of file it may be: by its name, by what the client says, by how it begins. The surest comes first.

    Recorders in browsers send a `blob` without an extension, and pipes a file without a name.
    """
    named = extension_of(filename)
    yield _ALIASES.get(named, named)
    kind, _, subtype = (content_type or "").partition(";")[0].strip().lower().partition("/")
    if kind in {"audio", "video"}:
        yield _TYPES.get(subtype.removeprefix("x-"), "")
    yield next((extension for pattern, extension in _BEGINNINGS if pattern.match(beginning)), "")


def media_type(text: str | None) -> str | None:
    """What a browser says of a file, fit for a header and a signature; None when it says nothing.

    Raises InvalidRequestError for what no header may hold.
    """
    if not text:
        return None
    if not _MEDIA_TYPE.fullmatch(text):
        raise InvalidRequestError("The content type has to be a media type such as audio/mpeg, or empty.")
    return text

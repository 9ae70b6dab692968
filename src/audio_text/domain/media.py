"""What a file may be: its extension, and the containers that are opened at all."""

import re
from collections.abc import Mapping

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

_MEDIA_TYPE = re.compile(r"[!-~][ -~]{0,254}")
_SEPARATORS = re.compile(r"[/\\]")
_EXTENSION = re.compile(r"[a-z0-9]{1,16}")


def extension_of(filename: str) -> str:
    """The extension in lower case without its dot; empty when there is none that could be a kind of file.

    Only what follows the last path separator of any system counts, so that no path trick matters.
    """
    name = _SEPARATORS.split(filename)[-1].strip()
    stem, _, extension = name.rpartition(".")
    extension = extension.lower()
    return extension if stem and _EXTENSION.fullmatch(extension) else ""


def media_type(text: str | None) -> str | None:
    """What a browser says of a file, fit for a header and a signature; None when it says nothing.

    Raises InvalidRequestError for what no header may hold.
    """
    if not text:
        return None
    if not _MEDIA_TYPE.fullmatch(text):
        raise InvalidRequestError("The content type has to be a media type such as audio/mpeg, or empty.")
    return text

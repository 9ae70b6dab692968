"""What is no recording at all and is called one."""

import gzip
import io
import json
import random
import tarfile
import zipfile

from attacks.forging import Files
from media import RECIPES, noise, text, video_without_sound

EXTENSIONS = tuple(RECIPES)


def other_files(chance: random.Random) -> Files:
    named = {
        "nothing": b"",
        "one-zero": b"\0",
        "zeros": bytes(100_000),
        "ones": b"\xff" * 100_000,
        "noise": noise(50_000),
        "prose": text(),
        "html": b"<!DOCTYPE html><html><body><audio src='file:///etc/passwd'></audio></body></html>" * 20,
        "pdf": b"%PDF-1.7\n1 0 obj\n<</Type/Catalog/OpenAction<</S/URI/URI(http://127.0.0.1:9/)>>>>\nendobj\n" * 20,
        "elf": b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\x3e\0" + bytes(4_000),
        "exe": b"MZ" + bytes(58) + b"\x80\0\0\0" + bytes(64) + b"PE\0\0" + bytes(2_000),
        "script": b"#!/bin/sh\ncurl http://127.0.0.1:9/\n",
        "json": json.dumps({"a": [1] * 5_000}).encode(),
        "xml-entities": b'<!DOCTYPE a [<!ENTITY b "bbbb"><!ENTITY c "&b;&b;&b;&b;">]><a>&c;</a>' * 10,
        "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>',
        "zip-bomb": _zip_bomb(),
        "gzip-bomb": gzip.compress(bytes(30_000_000), mtime=0),
        "nested-gzip": gzip.compress(gzip.compress(gzip.compress(bytes(1_000_000), mtime=0), mtime=0), mtime=0),
        "tar": _tar(),
        "png": b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\x7f\xff\xff\xff\x7f\xff\xff\xff\x08\x06\0\0\0" + bytes(500),
        "gif": b"GIF89a\xff\xff\xff\xff\xf7\0\0" + bytes(2_000),
        "jpeg": b"\xff\xd8\xff\xe0\0\x10JFIF\0" + bytes(2_000),
        "sqlite": b"SQLite format 3\0" + bytes(4_000),
        "midi": b"MThd\0\0\0\x06\0\x01\xff\xff\x7f\xffMTrk\xff\xff\xff\xff" + bytes(500),
        "avi": b"RIFF\xff\xff\xff\xffAVI LIST" + bytes(500),
        "aiff": b"FORM\xff\xff\xff\xffAIFFCOMM" + bytes(500),
        "flv": b"FLV\x01\x05\0\0\0\x09" + b"\xff" * 500,
        "asf": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + b"\xff" * 500,
        "caf": b"caff\0\x01\0\0desc" + b"\xff" * 500,
        "au": b".snd" + b"\xff" * 500,
        "mpegts": (b"\x47\x40\0\x10" + bytes(184)) * 100,
        "silent-film": video_without_sound(),
    }
    for name, data in named.items():
        yield f"{name}.{chance.choice(EXTENSIONS)}", data


def _zip_bomb() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for number in range(10):
            entry = zipfile.ZipInfo(f"{number}.wav", (1980, 1, 1, 0, 0, 0))
            archive.writestr(entry, bytes(3_000_000), zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        member = tarfile.TarInfo("../../etc/passwd")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"root"))
    return buffer.getvalue()

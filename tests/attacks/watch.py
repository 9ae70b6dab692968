"""Witnesses: a web server and a recording that somebody may be lured to, and what they saw."""

import ctypes
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from media import wav

IN_ACCESS, IN_OPEN = 0x1, 0x20
EVENT = struct.Struct("iIII")


class Lures:
    """An address where somebody listens, and a file that the kernel tells about."""

    def __init__(self, folder: Path) -> None:
        self.canary = folder / "canary.wav"
        self.canary.write_bytes(wav())
        self._server = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}"
        self.calls = 0
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = self._libc.inotify_init1(os.O_NONBLOCK)
        self._libc.inotify_add_watch(self._inotify, os.fsencode(self.canary), IN_ACCESS | IN_OPEN)
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    @property
    def openings(self) -> int:
        """How often the file was opened or read since it was last asked."""
        try:
            return len(os.read(self._inotify, 64_000)) // EVENT.size
        except BlockingIOError:
            return 0

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._server.accept()
            except OSError:
                return
            with connection:
                self.calls += 1

    def close(self) -> None:
        """Let go."""
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join()
        os.close(self._inotify)


@contextmanager
def lures(folder: Path) -> Iterator[Lures]:
    """Both, until the end."""
    watched = Lures(folder)
    try:
        yield watched
    finally:
        watched.close()

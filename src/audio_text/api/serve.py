"""The API process: granian's main process, and the workers in which the application runs."""

import asyncio
import multiprocessing
import os
import signal
import socket
import threading
from functools import partial
from types import FrameType
from typing import cast

from granian.constants import Interfaces, Loops
from granian.log import LogLevels
from granian.server import Server
from litestar import Litestar

from audio_text import logs
from audio_text.api.app import create_app
from audio_text.errors import ConfigurationError
from audio_text.settings import Settings

CONNECTIONS = 4_096
"""Waiting to be accepted, and open per worker: granian counts idle keep-alive connections among the latter."""


def main(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what runs for at most api.drain_seconds.

    Open sockets are dropped at once and streams ended, so that their clients go on elsewhere. Raises ConfigurationError
    when the address is not to be had, and SystemExit when workers cannot start or keep dying.
    """
    _check_address(settings.api.host, settings.api.port)
    # granian's own handler would be inherited, and a SIGTERM that meets an importing worker would be lost in it.
    os.register_at_fork(after_in_child=_drop_inherited_handlers)
    server = Server(
        "audio_text.api.app:create_app",  # for granian's log; the loader below is what counts
        address=settings.api.host,
        port=settings.api.port,
        interface=Interfaces.ASGI,
        workers=settings.api.processes,
        loop=Loops.uvloop,
        backlog=CONNECTIONS,
        backpressure=CONNECTIONS,
        respawn_failed_workers=True,
        workers_kill_timeout=settings.api.drain_seconds,
        log_level=LogLevels(settings.log.level),
        log_dictconfig=logs.config(settings.log.level, settings.log.format),
    )
    server.serve(target_loader=partial(_load, settings), wrap_loader=False)


def _check_address(host: str, port: int) -> None:
    """Granian shares its port with whoever asks: a second service would get half of the first one's requests."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            reason = error.strerror or str(error)
            raise ConfigurationError(f"The API cannot listen on api.host {host}, api.port {port}: {reason}.") from error


def _load(settings: Settings) -> Litestar:
    """Make the application, in a worker."""
    logs.configure(settings.log.level, settings.log.format)
    threading.Thread(target=_follow_parent, name="parent", daemon=True).start()
    app = create_app(settings)
    app.on_startup.append(_listen_for_stop)
    return app


def _listen_for_stop(app: Litestar) -> None:
    """Have streams end on SIGTERM: granian only waits for them.

    The loop, which granian has asked to tell it of the signal, learns of it in its own way, and goes on to do so.
    """
    loop, closing = asyncio.get_running_loop(), cast("asyncio.Event", app.state.closing)

    def close(_number: int, _frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(closing.set)

    signal.signal(signal.SIGTERM, close)


def _drop_inherited_handlers() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all of them: the main process passes it on


def _follow_parent() -> None:
    """Stop with the main process, even if it was killed: an orphan would go on answering on its port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

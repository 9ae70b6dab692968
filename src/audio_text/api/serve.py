"""The API process: granian's main process, and the workers in which the application runs."""

import asyncio
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVarTuple, Unpack, cast

import structlog
import uvloop
from granian import loops
from granian.constants import HTTPModes, Interfaces, Loops
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server import Server
from litestar import Litestar

from audio_text import logs
from audio_text.api.app import create_app
from audio_text.errors import ConfigurationError
from audio_text.settings import Settings, is_loopback

log = structlog.get_logger(__name__)

Arguments = TypeVarTuple("Arguments")

CONNECTIONS = 4_096
"""Waiting to be accepted, and open per worker: granian counts idle keep-alive connections among the latter."""

STOPS = frozenset({signal.SIGTERM, signal.SIGINT})
"""What ends the service. Ctrl-C reaches the workers, too: they leave it to the main process, who sends them SIGTERM."""

INSIST_SECONDS = 0.5
"""How soon granian's main process is told again to stop: it forgets what it hears just when it misses a worker."""


def main(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT, then finish what runs for at most api.drain_seconds.

    Open sockets are dropped at once and streams ended, so that their clients go on elsewhere. Raises ConfigurationError
    when the address is not to be had, and SystemExit when workers cannot start or keep dying.
    """
    _check_address(settings.api.host, settings.api.port)
    if settings.access.open:
        _warn(settings.api.host)
    # For good, also in threads and workers to come: one thread of each process waits for the signals. A handler of
    # granian's may interrupt the main thread while that holds the lock which it takes, blocks a worker that hears of a
    # second signal before it serves, and misses the only one while its loop does not run.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    loops.register("uvloop")(_open_loop)
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
        # While it has to find out which HTTP is spoken, it waits for ever for the first byte.
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(
            header_read_timeout=round(settings.api.header_seconds * 1_000),
            max_buffer_size=settings.api.max_header_bytes,
        ),
        log_level=LogLevels(settings.log.level),
        log_dictconfig=logs.config(settings.log.level, settings.log.format),
    )
    stop = cast("Callable[[], None]", server.signal_handler_interrupt)  # pyright: ignore[reportUnknownMemberType] -- untyped
    threading.Thread(target=_await_stop, args=(stop,), name="stop", daemon=True).start()
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


def _warn(host: str) -> None:
    """Say loudly that nobody is asked for a key."""
    reach = "from this machine" if is_loopback(host) else f"from wherever {host} is reached"
    log.warning("service_is_open", host=host, reach=reach, meaning="No keys: whoever comes sees and does everything.")


def _await_stop(stop: Callable[[], None]) -> None:
    """Have granian stop when the main process is asked to."""
    signal.sigwait(STOPS)
    while True:
        stop()
        threading.Event().wait(INSIST_SECONDS)


class WorkerLoop(uvloop.Loop):
    """A loop that leaves signals alone, and keeps what granian wants called on SIGTERM: it may be called once."""

    def __init__(self) -> None:
        super().__init__()
        self.stop_serving: Callable[[], object] = lambda: None

    def add_signal_handler(
        self,
        sig: int,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
    ) -> None:
        """Keep the callback for SIGTERM."""
        if sig == signal.SIGTERM:
            self.stop_serving = partial(callback, *args)


def _open_loop() -> WorkerLoop:
    loop = WorkerLoop()
    asyncio.set_event_loop(loop)
    return loop


def _load(settings: Settings) -> Litestar:
    """Make the application, in a worker."""
    logs.configure(settings.log.level, settings.log.format)
    threading.Thread(target=_follow_parent, name="parent", daemon=True).start()
    app = create_app(settings)
    app.on_startup.append(_listen_for_stop)
    return app


def _listen_for_stop(app: Litestar) -> None:
    """Have streams end on SIGTERM, for which granian only waits; then granian. One that came before is still there."""
    loop = cast("WorkerLoop", asyncio.get_running_loop())
    closing = cast("asyncio.Event", app.state.closing)

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        loop.call_soon_threadsafe(closing.set)
        loop.stop_serving()

    threading.Thread(target=wait, name="stop", daemon=True).start()


def _follow_parent() -> None:
    """Stop with the main process, even if it was killed: an orphan would go on answering on its port."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

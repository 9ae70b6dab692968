"""The probe: child processes look into containers, and get the ranges that they ask for from here."""

import asyncio
import weakref
from collections.abc import Awaitable, Callable

import structlog

from audio_text.adapters.child_process import start_child
from audio_text.adapters.frames import LENGTH, body_length, frame
from audio_text.adapters.probe_protocol import (
    BLOCK_BYTES,
    LONGEST_FRAME,
    Ask,
    Block,
    Fault,
    Found,
    FromChild,
    FromParent,
    Refused,
    Want,
    decode_from_child,
)
from audio_text.domain.transcript import AudioFacts
from audio_text.errors import (
    EmptyAudioError,
    InvalidAudioError,
    NoSoundTrackError,
    StoreUnavailableError,
    TransientError,
)

log = structlog.get_logger(__name__)

ReadRange = Callable[[int, int], Awaitable[bytes]]
"""(start, length) to bytes, as AudioStore.read_range of one object."""

MAX_BYTES = 32 * 1024 * 1024
"""The index of a 10-hour mp4 takes up to 20 MiB (12 bytes a frame, 4 a block of sound); a head takes one block."""

TIMEOUT_SECONDS = 10.0
"""All of it, waiting for a free child included: a client waits for the answer."""

MAX_CHILDREN = 4
"""Probes at once; one takes a few milliseconds of CPU and one or two answers of the store."""

MAX_PROBES = 1_000
"""A child is replaced after so many: leaks of a C library are not ours to find."""

BUSY = "Uploads cannot be checked just now: try again in a few seconds."

CHILD_MODULE = "audio_text.adapters.probe_child"


class ChildDiedError(Exception):
    """The child ended in the middle of an object, by a limit of its own or by a crash."""


class Child:
    """A process that looks at one object after the other."""

    def __init__(self) -> None:
        self._socket, self._process = start_child(CHILD_MODULE)
        self._socket.setblocking(False)
        self.probes = 0

    @property
    def is_alive(self) -> bool:
        """Whether it waits for a question."""
        return self._process.poll() is None

    async def send(self, message: FromParent) -> None:
        """Raises ChildDiedError."""
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, frame(message))
        except OSError as error:
            raise ChildDiedError from error

    async def receive(self) -> FromChild:
        """The next message. Raises ChildDiedError, also for one that makes no sense."""
        try:
            header = await self._read(LENGTH.size)
            return decode_from_child(await self._read(body_length(header, longest=LONGEST_FRAME)))
        except (OSError, ValueError) as error:
            raise ChildDiedError from error

    async def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            piece = await asyncio.get_running_loop().sock_recv(self._socket, length - len(data))
            if not piece:
                raise ChildDiedError
            data += piece
        return bytes(data)

    def end(self) -> None:
        """Kill it, and wait until its memory is free. Blocks."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


class PyAvProbe:
    """Reads what a container says of itself; opens nothing but the object it was given.

    Children start when they are needed (in some 60 ms) and wait for the next object; all end with it.
    """

    def __init__(self, *, timeout_seconds: float = TIMEOUT_SECONDS, max_bytes: int = MAX_BYTES) -> None:
        self._timeout_seconds = timeout_seconds
        self._max_bytes = max_bytes
        self._slots = asyncio.Semaphore(MAX_CHILDREN)
        self._children: set[Child] = set()
        self._idle: list[Child] = []
        weakref.finalize(self, _end_all, self._children)

    async def probe(self, read_range: ReadRange, size_bytes: int) -> AudioFacts:
        """Read as little as possible of the object.

        Raises InvalidAudioError, EmptyAudioError, NoSoundTrackError; StoreUnavailableError when the ranges
        take too long to come, TransientError when too many other probes run or no
        child starts; and what `read_range` raises.
        """
        if size_bytes <= 0:
            raise EmptyAudioError
        source = _Source(read_range, size_bytes, max_bytes=self._max_bytes)
        try:
            async with asyncio.timeout(self._timeout_seconds), self._slots:
                answer = await self._look(source)
        except TimeoutError:
            if not source.was_asked:
                raise TransientError(BUSY) from None
            raise (StoreUnavailableError if source.is_waiting else InvalidAudioError) from None
        match answer:
            case Found(facts=facts):
                return facts
            case Refused(fault=Fault.no_sound_track):
                raise NoSoundTrackError
            case Refused():
                raise InvalidAudioError

    async def _look(self, source: "_Source") -> Found | Refused:
        child = await self._take()
        is_usable = False
        try:
            answer = await _converse(child, source)
            child.probes += 1
            is_usable = child.probes < MAX_PROBES
        except ChildDiedError as error:
            log.warning("probe_child_died", size_bytes=source.size_bytes, was_looking=source.was_asked)
            if not source.was_asked:
                raise TransientError(BUSY) from error
            return Refused(Fault.invalid)
        finally:
            if is_usable:
                self._idle.append(child)
            else:
                await self._drop(child)
        return answer

    async def _take(self) -> Child:
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
            await self._drop(child)
        try:
            child = Child()
        except OSError as error:
            raise TransientError(BUSY) from error
        self._children.add(child)
        return child

    async def _drop(self, child: Child) -> None:
        self._children.discard(child)
        await asyncio.to_thread(child.end)


class _Source:
    """The object, within the bounds that a child may ask for."""

    def __init__(self, read_range: ReadRange, size_bytes: int, *, max_bytes: int) -> None:
        self._read_range = read_range
        self._budget_bytes = max_bytes
        self.size_bytes = size_bytes
        self.was_asked = False
        self.is_waiting = False

    async def block(self, index: int) -> bytes:
        """A block of the object; empty beyond its end, and when the child has had enough."""
        self.was_asked = True
        start = index * BLOCK_BYTES
        length = min(BLOCK_BYTES, self.size_bytes - start)
        self._budget_bytes -= length
        if start < 0 or length <= 0 or self._budget_bytes < 0:
            return b""
        self.is_waiting = True
        data = await self._read_range(start, length)
        self.is_waiting = False
        return data[:length]


async def _converse(child: Child, source: _Source) -> Found | Refused:
    """Ask, and hand over what the child wants until it answers."""
    await child.send(Ask(source.size_bytes))
    while isinstance(message := await child.receive(), Want):
        await child.send(Block(await source.block(message.index)))
    return message


def _end_all(children: set[Child]) -> None:
    for child in children:
        child.end()

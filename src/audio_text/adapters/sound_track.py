"""Decoding with PyAV: any accepted container to 16 kHz, mixed or by channel, a second at a time, never all of it.

What is here runs in the decoder's child process alone (ADR 0014); it knows no NumPy, whose import takes longer than
the child's whole start.
"""

import errno
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import IO

import av
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from av.audio.layout import AudioLayout
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet

from audio_text.adapters.containers import UNTIMED_CONTAINERS, promises_too_much, require_possible_sound
from audio_text.adapters.decoder_protocol import SAMPLE_RATE
from audio_text.domain.media import DEMUXER_OPTIONS
from audio_text.errors import EmptyAudioError, InvalidAudioError, NoSoundTrackError, TransientError

GROUP_SECONDS = 1
"""Sound that is resampled at once: enough for speed, little enough to stop soon."""

LEARNING_SECONDS = 1.0
"""Start of a track that is always decoded, to learn whether its packets last as long as they say."""

PRIMING_SECONDS = 0.25
"""Where encoders hide their delay: the first packets may give fewer samples than they say."""

WARM_UP_SECONDS = 3.0
"""Decoded before a later start and dropped: MP3 needs the last 0.3 s, Opus 0.08 s, Vorbis a packet."""

SETTLING_SECONDS = 0.05
"""Resampled before a later start and dropped: the filter reaches back a few milliseconds."""

LONGEST_GAP_SECONDS = 10.0
"""Most silence put in the place of one undecodable packet; a damaged file may claim hours."""

EQUAL_SECONDS = 1e-6
"""Lengths that differ by less are the same: a tenth of the shortest sample period."""

MOST_DAMAGED_TO_DECODED = 9
"""Packets that fail for each that is decoded; in mere noise, too, FFmpeg finds what looks like a frame of MP3."""

SAMPLE_BYTES = 2
"""16 bits each."""

AV_SECOND = 1_000_000
"""FFmpeg's AV_TIME_BASE: the unit of a container's duration."""


@contextmanager
def open_file(file: IO[bytes], *, alive: Callable[[], None]) -> Generator["FileTrack"]:
    """Open the first sound track of a file.

    Raises EmptyAudioError, NoSoundTrackError, InvalidAudioError; TransientError when the disk fails.
    Whatever PyAV raises while the track is read in this context becomes one of these, too. `alive` is called before
    each packet.
    """
    try:
        with av.open(file, "r", options=dict(DEMUXER_OPTIONS), metadata_errors="ignore") as media:
            if promises_too_much(media, os.fstat(file.fileno()).st_size):
                raise InvalidAudioError
            if not media.streams.audio:
                raise NoSoundTrackError
            require_possible_sound(media.streams.audio[0])
            yield FileTrack(media, file, alive=alive)
    except (FFmpegError, MemoryError) as error:
        # damaged headers ask for absurd amounts
        raise InvalidAudioError from error
    except OSError as error:
        if error.errno == errno.EINVAL:
            # a damaged index, which made FFmpeg seek to before the beginning
            raise InvalidAudioError from error
        raise TransientError(f"The recording could not be read: {error.strerror or error}.") from error


class FileTrack:
    """A sound track that can be heard once, sample for sample as faster_whisper.decode_audio hears it.

    Samples are bytes: 16-bit numbers in the machine's order, those of all channels of a moment side by side.
    """

    def __init__(self, media: InputContainer, file: IO[bytes], *, alive: Callable[[], None]) -> None:
        self._media = media
        self._alive = alive
        self._stream: AudioStream = media.streams.audio[0]
        # threads would take address space, and there is nothing for them to do
        self._stream.codec_context.thread_count = 1
        self._file = file

    @property
    def stated_seconds(self) -> float | None:
        """The track's length, where the container says it."""
        if self._media.duration and self._media.format.name not in UNTIMED_CONTAINERS:
            return self._media.duration / AV_SECOND
        if self._stream.duration and self._stream.time_base:
            return float(self._stream.duration * self._stream.time_base)
        return None

    @property
    def bytes_read(self) -> int:
        """How far the file was read."""
        return self._file.tell()

    @property
    def channel_count(self) -> int:
        """How many channels it has, as its beginning says."""
        return self._stream.layout.nb_channels

    def samples(self, begin: float = 0.0, *, skip: int = 0, by_channel: bool = False) -> Iterator[bytes]:
        """The track from `begin` seconds on, about a second at a time; a later begin is met to one sample.

        The first `skip` samples are decoded and left out.

        Raises InvalidAudioError when next to nothing can be decoded, EmptyAudioError when there is nothing to decode.
        """
        layout = self._stream.layout if by_channel else AudioLayout("mono")
        moment = SAMPLE_BYTES * layout.nb_channels
        converter = _Converter(layout)
        superfluous: int | None = None
        for position, sound in _sounds(self._packets(), begin):
            if superfluous is None:
                superfluous = round((begin - position) * SAMPLE_RATE) + skip
            for piece in converter.feed(sound):
                yield piece[superfluous * moment :]
                superfluous = max(0, superfluous - len(piece) // moment)
        for piece in converter.drain():
            yield piece[(superfluous or 0) * moment :]
            superfluous = max(0, (superfluous or 0) - len(piece) // moment)

    def _packets(self) -> "Iterator[Packet[AudioStream]]":
        try:
            for packet in self._media.demux(self._stream):
                self._alive()
                yield packet
        except FFmpegError:
            # cut off or damaged beyond this point: what was read stands
            return


_Sound = AudioFrame | float
"""A decoded frame, or the length in seconds of what could not be decoded."""


def _sounds(packets: "Iterator[Packet[AudioStream]]", begin: float) -> Iterator[tuple[float, _Sound]]:
    """What can be heard from shortly before `begin`, each with its position: the sum of all sound before it.

    Packets far before `begin` are not decoded, where their stated lengths have proved to be exact.
    """
    position = 0.0
    pace = _Pace()
    decoded = damaged = 0
    for packet in packets:
        stated = _stated_seconds(packet)
        if pace.is_exact and position + stated < begin - WARM_UP_SECONDS:
            pace.is_ahead = True
            position += stated
            continue
        try:
            sounds: list[_Sound] = list(packet.decode())
            decoded += len(sounds)
        except FFmpegError:
            damaged += 1
            sounds = [min(stated, LONGEST_GAP_SECONDS)] if decoded else []
        start = position
        for sound in sounds:
            if position + _seconds(sound) > begin - SETTLING_SECONDS:
                yield position, sound
            position += _seconds(sound)
        if pace.is_ahead:
            # decoders may stumble where packets were left out; what these say is exact
            position = start + stated
        else:
            pace.learn(stated, position - start, position)
    if damaged > MOST_DAMAGED_TO_DECODED * decoded:
        raise InvalidAudioError
    if not decoded:
        raise EmptyAudioError


class _Pace:
    """Whether packets of a track last as long as they say, so that they can be counted without decoding."""

    def __init__(self) -> None:
        self.is_ahead = False
        self._deviates = False
        self._position = 0.0

    @property
    def is_exact(self) -> bool:
        return self._position >= LEARNING_SECONDS and not self._deviates

    def learn(self, stated: float, decoded: float, position: float) -> None:
        self._position = position
        if position > PRIMING_SECONDS and abs(stated - decoded) > EQUAL_SECONDS:
            self._deviates = True


class _Converter:
    """Gathers frames and converts them to 16 kHz 16-bit in this layout, also when their format changes on the way."""

    def __init__(self, layout: AudioLayout) -> None:
        self._layout = layout
        self._kind: tuple[str, str, int] | None = None
        self._fifo = AudioFifo()
        self._resampler = AudioResampler()

    def feed(self, sound: _Sound) -> Iterator[bytes]:
        if not isinstance(sound, AudioFrame):
            yield from self._convert_gathered()
            yield bytes(SAMPLE_BYTES * self._layout.nb_channels * round(sound * SAMPLE_RATE))
            return
        kind = (sound.format.name, sound.layout.name, sound.sample_rate)
        if kind != self._kind:
            yield from self.drain()
            self._kind = kind
            self._fifo = AudioFifo()
            self._resampler = AudioResampler(format="s16", layout=self._layout, rate=SAMPLE_RATE)
        # gaps between time stamps are no sound
        sound.pts = None
        self._fifo.write(sound)
        if self._fifo.samples >= sound.sample_rate * GROUP_SECONDS:
            yield from self._convert_gathered()

    def drain(self) -> Iterator[bytes]:
        """What is left: nothing may be fed afterwards but another kind."""
        if self._kind:
            yield from self._convert_gathered()
            yield from self._convert(None)
            self._kind = None

    def _convert_gathered(self) -> Iterator[bytes]:
        gathered = self._fifo.read()
        if gathered:
            yield from self._convert(gathered)

    def _convert(self, frame: AudioFrame | None) -> Iterator[bytes]:
        for converted in self._resampler.resample(frame):
            # None, against PyAV's annotation, where there was nothing to resample
            if converted is not None:  # pyright: ignore[reportUnnecessaryComparison] -- see above
                yield bytes(converted.planes[0])[: SAMPLE_BYTES * self._layout.nb_channels * converted.samples]


def _stated_seconds(packet: "Packet[AudioStream]") -> float:
    if not packet.duration or not packet.time_base:
        return 0.0
    return float(packet.duration * packet.time_base)


def _seconds(sound: _Sound) -> float:
    return sound.samples / sound.sample_rate if isinstance(sound, AudioFrame) else sound

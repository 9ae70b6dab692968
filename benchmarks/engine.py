"""What the engine costs: time to the first text and peak memory by length, memory of several jobs at once.

Every case runs in a process of its own. Ratios travel between machines; seconds and megabytes do not.
"""

import argparse
import asyncio
import json
import subprocess
import sys
import tempfile
import time
import wave
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import av
import msgspec
import numpy as np
from _memory import Sampler, high_water_mib, proportional_mib
from av.audio.fifo import AudioFifo
from av.audio.frame import AudioFrame
from numpy.typing import NDArray

from audio_text.adapters.engine import WhisperEngine
from audio_text.domain.options import Channels, TranscriptionOptions
from audio_text.settings import Settings
from audio_text.worker.run import share_heaps

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "src" / "audio_text" / "data" / "recordings" / "memo_35s.wav"
RATE = 16_000
LENGTHS = {"10 s": 10, "10 min": 600, "3 h": 10_800}
SAMPLING_SECONDS = 0.02
"""How often the memory is looked at while jobs run."""

SETTLING_SECONDS = 0.5
"""After which a decoder waits for the first recording, as in a worker that has nothing to do."""


@dataclass(frozen=True)
class Case:
    """One measurement: `jobs` transcriptions of the file at once, in an engine that has room for so many."""

    file: str
    jobs: int = 1
    room: int = 1
    first_only: bool = False
    """Give up after the first segment."""
    is_separate: bool = False
    """Transcribe each channel by itself."""


@dataclass(frozen=True)
class Outcome:
    first_seconds: float
    total_seconds: float
    segments: int
    idle_mib: float
    peak_mib: float
    """High-water mark of the resident memory of the process alone."""
    busy_pss_mib: float
    """Median of the proportional set size while the jobs ran, decoders included."""
    peak_pss_mib: float


def settings() -> Settings:
    return msgspec.convert(msgspec.toml.decode((ROOT / "settings.toml").read_bytes()), Settings)


async def measure(case: Case) -> Outcome:
    configured = settings()
    engine = WhisperEngine(configured.engine, configured.models, concurrency=case.room)
    await engine.preload("demo")
    await asyncio.sleep(SETTLING_SECONDS)
    idle = proportional_mib()
    began = time.perf_counter()
    with Sampler(proportional_mib, seconds=SAMPLING_SECONDS) as memory:
        results = await asyncio.gather(*(transcribe(engine, case) for _ in range(case.jobs)))
    return Outcome(
        first_seconds=min(first for first, _ in results) - began,
        total_seconds=time.perf_counter() - began,
        segments=sum(segments for _, segments in results),
        idle_mib=idle,
        peak_mib=high_water_mib(),
        busy_pss_mib=median(memory.seen),
        peak_pss_mib=max(memory.seen),
    )


async def transcribe(engine: WhisperEngine, case: Case) -> tuple[float, int]:
    options = TranscriptionOptions(channels=Channels.separate if case.is_separate else Channels.mixed)
    chunks = engine.transcribe(Path(case.file), model="demo", options=options)
    first, segments = 0.0, 0
    async for chunk in chunks:
        if chunk.segments and not segments:
            first = time.perf_counter()
            if case.first_only:
                await chunks.aclose()
        segments += len(chunk.segments)
    return first, segments


def speech() -> NDArray[np.int16]:
    with wave.open(str(SAMPLE)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), np.int16)


def tiled(seconds: int) -> Iterator[NDArray[np.int16]]:
    """The sample again and again, with pauses between, as long as asked for."""
    sound, left, generator = speech(), seconds * RATE, np.random.default_rng(1)
    while left > 0:
        pause = np.zeros(int(generator.uniform(0.2, 2.0) * RATE), np.int16)
        for piece in (sound, pause):
            if left > 0:
                yield piece[:left]
            left -= min(left, piece.size)


def write_wav(path: Path, seconds: int) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        for piece in tiled(seconds):
            file.writeframes(piece.tobytes())


def write_stereo(path: Path, seconds: int) -> None:
    """The same on both sides, the right one a second later."""
    sound = np.concatenate(list(tiled(seconds)))
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes(np.stack([sound, np.roll(sound, RATE)], axis=1).tobytes())


def write_mp3(path: Path, seconds: int) -> None:
    with av.open(str(path), "w", format="mp3") as out:
        stream = out.add_stream("libmp3lame", rate=RATE, layout="mono")
        resampler = av.AudioResampler(format=stream.format, layout="mono", rate=RATE)
        fifo = AudioFifo()
        for piece in tiled(seconds):
            frame = AudioFrame.from_ndarray(piece[np.newaxis], format="s16", layout="mono")
            frame.sample_rate = RATE
            for converted in resampler.resample(frame):
                converted.pts = None
                fifo.write(converted)
            for ready in fifo.read_many(stream.codec_context.frame_size):
                out.mux(stream.encode(ready))
        out.mux(stream.encode(None))


def in_own_process(case: Case) -> Outcome:
    command = [sys.executable, __file__, "--case", json.dumps(asdict(case))]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def report(folder: Path, *, kind: str, longest: int, rounds: int) -> None:
    print(f"{kind:>4} length   first text   total      RTF  segments  idle MiB  peak MiB   PSS MiB")
    files = {name: folder / f"{seconds}.{kind}" for name, seconds in LENGTHS.items() if seconds <= longest}
    outcomes: dict[str, Outcome] = {}
    for name, file in files.items():
        (write_wav if kind == "wav" else write_mp3)(file, LENGTHS[name])
        firsts = [in_own_process(Case(str(file), first_only=True)).first_seconds for _ in range(rounds)]
        whole = in_own_process(Case(str(file)))
        outcomes[name] = whole
        factor = whole.total_seconds / LENGTHS[name]
        print(
            f"{name:>11} {median(firsts):9.3f} s {whole.total_seconds:8.1f} s {factor:7.4f}"
            f" {whole.segments:9} {whole.idle_mib:9.0f} {whole.peak_mib:9.0f} {whole.busy_pss_mib:9.0f}",
            flush=True,
        )
    middle = "10 min" if "10 min" in outcomes else next(iter(outcomes))
    last = list(outcomes)[-1]
    shorter, longer = outcomes[middle], outcomes[last]
    print(
        f"peak memory grows by {longer.peak_mib - shorter.peak_mib:.0f} MiB from {middle} to {last} (at most 150); "
        f"with the decoder by {longer.peak_pss_mib - shorter.peak_pss_mib:.0f} MiB (PSS)"
    )


def report_concurrency(folder: Path, *, kind: str) -> None:
    file = folder / f"several.{kind}"
    (write_wav if kind == "wav" else write_mp3)(file, LENGTHS["10 min"])
    print("\nbusy of room   total   idle PSS   busy PSS (median)   busy PSS (peak)")
    outcomes: dict[tuple[int, int], Outcome] = {}
    for jobs, room in ((1, 1), (1, 4), (4, 4)):
        outcomes[jobs, room] = outcome = in_own_process(Case(str(file), jobs=jobs, room=room))
        print(
            f"{jobs:4} of {room:4} {outcome.total_seconds:6.1f} s {outcome.idle_mib:6.0f} MiB"
            f" {outcome.busy_pss_mib:14.0f} MiB {outcome.peak_pss_mib:13.0f} MiB",
            flush=True,
        )
    one, four = outcomes[1, 4], outcomes[4, 4]
    print(
        f"four busy threads take {four.busy_pss_mib / one.busy_pss_mib:.2f} times the memory of one "
        f"(at most 1.25; peaks {four.peak_pss_mib / one.peak_pss_mib:.2f})"
    )


def report_channels(folder: Path, *, rounds: int) -> None:
    one, both = folder / "one.wav", folder / "both.wav"
    write_wav(one, LENGTHS["10 min"])
    write_stereo(both, LENGTHS["10 min"])
    ratios: list[float] = []
    for _ in range(rounds):
        mono = in_own_process(Case(str(one))).total_seconds
        ratios.append(in_own_process(Case(str(both), is_separate=True)).total_seconds / (2 * mono))
    print(f"\ntwo channels separately take {median(ratios):.2f} times as long as two recordings of one")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=["wav", "mp3"], default="mp3")
    parser.add_argument("--longest", type=int, default=10_800, metavar="SECONDS", help="leave out longer recordings")
    parser.add_argument("--rounds", type=int, default=3, help="how often the time to the first text is taken")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.case:
        share_heaps()  # as a worker does
        print(json.dumps(asdict(asyncio.run(measure(Case(**json.loads(arguments.case)))))))
        return
    with tempfile.TemporaryDirectory() as folder:
        report(Path(folder), kind=arguments.kind, longest=arguments.longest, rounds=arguments.rounds)
        report_concurrency(Path(folder), kind=arguments.kind)
        report_channels(Path(folder), rounds=arguments.rounds)


if __name__ == "__main__":
    main()

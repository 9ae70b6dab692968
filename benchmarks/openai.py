"""What OpenAI's interface costs here, measured on the embedded stack with the offline model. Run with `just bench`.

Prints: what a call of /v1/audio/transcriptions takes beyond the bare library on the same file, and how long after a
segment was decoded its text reaches the client of a stream.
"""

import argparse
import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path

import msgspec
from faster_whisper import WhisperModel
from service import DATA, MODEL, SMALL, Clients, median_ms, p90_ms, paused_workers, running_stack

from audio_text import logs
from audio_text.adapters.engine import WhisperEngine
from audio_text.bootstrap import open_ingest, open_resources
from audio_text.domain.options import TranscriptionOptions
from audio_text.domain.transcript import TranscriptChunk
from audio_text.ports import ResumePoint
from audio_text.services.transcription import TranscriptionService
from audio_text.worker.watchdog import ThreadWatchdog

ADDRESS = "/v1/audio/transcriptions"
LONG = DATA / "memo_100s.flac"
TIER = "audio_small"
WARM_UP = 3


async def overhead(clients: Clients, calls: int) -> None:
    """A call from its first byte to its whole answer, beside the bare library on the same file, in turn."""
    bare_model = WhisperModel(str(MODEL), device="cpu", compute_type="int8", cpu_threads=1)
    options = clients.stack.settings.options
    vad = msgspec.to_builtins(options.vad)
    content = await asyncio.to_thread(SMALL.read_bytes)

    def bare() -> float:
        began = time.perf_counter()
        segments, _ = bare_model.transcribe(str(SMALL), vad_filter=options.vad_filter, vad_parameters=vad)
        list(segments)
        return time.perf_counter() - began

    through, alone = [], []
    for _ in range(calls + WARM_UP):
        began = time.perf_counter()
        answer = await clients.http.post(ADDRESS, files={"file": (SMALL.name, content)}, data={"model": "demo"})
        through.append(time.perf_counter() - began)
        assert answer.raise_for_status().json()["text"]
        alone.append(await asyncio.to_thread(bare))
    extra = [a - b for a, b in list(zip(through, alone, strict=True))[WARM_UP:]]
    print(f"overhead of {ADDRESS} ({SMALL.name}, {calls} calls, the whole call minus bare transcribe)")
    print(f"  bare   median {median_ms(alone[WARM_UP:])}")
    print(f"  call   median {median_ms(through[WARM_UP:])}")
    print(f"  extra  median {median_ms(extra)}, p90 {p90_ms(extra)} (goal: median at most 60 ms)")


class TimedEngine:
    """Remembers when each segment with text came out of the model."""

    def __init__(self, engine: WhisperEngine) -> None:
        self.decoded_at: list[float] = []
        self._engine = engine

    async def transcribe(
        self, audio: Path, *, model: str, options: TranscriptionOptions, resume: ResumePoint | None = None
    ) -> AsyncGenerator[TranscriptChunk, None]:
        async with aclosing(self._engine.transcribe(audio, model=model, options=options, resume=resume)) as chunks:
            async for chunk in chunks:
                now = time.perf_counter()
                self.decoded_at += [now for segment in chunk.segments if segment.text.strip()]
                yield chunk

    async def preload(self, model: str) -> None:
        await self._engine.preload(model)


async def deltas(clients: Clients, streams: int) -> None:
    """From the model's hand to the client's; the worker is this process, so that there is one clock."""
    settings = clients.stack.settings
    engine = TimedEngine(WhisperEngine(settings.engine, settings.models, concurrency=1))
    await engine.preload("demo")
    watchdog = ThreadWatchdog(abort=lambda *_: None, retire=lambda: None)
    first, all_of_them = [], []
    async with (
        open_resources(settings, name="bench", live=True) as resources,
        open_ingest(resources, settings) as ingest,
    ):
        service = TranscriptionService(
            resources, engine=engine, ingest=ingest, watchdog=watchdog, settings=settings, owner="bench"
        )
        with paused_workers():
            for _ in range(streams + WARM_UP):
                engine.decoded_at.clear()
                async with asyncio.TaskGroup() as group:
                    begun = asyncio.Event()
                    told = group.create_task(_told_at(clients, begun))
                    await begun.wait()
                    assert await service.run_next(TIER)
                lags = [heard - decoded for heard, decoded in zip(told.result(), engine.decoded_at, strict=True)]
                first.append(lags[0])
                all_of_them += lags
    count = len(first) - WARM_UP
    print(f"text of a stream after its segment was decoded ({LONG.name}, {count} streams)")
    print(f"  first delta  median {median_ms(first[WARM_UP:])}, p90 {p90_ms(first[WARM_UP:])} (goal: at most 50 ms)")
    print(f"  all deltas   median {median_ms(all_of_them)}, p90 {p90_ms(all_of_them)}")


async def _told_at(clients: Clients, begun: asyncio.Event) -> list[float]:
    content = await asyncio.to_thread(LONG.read_bytes)
    form = {"files": {"file": (LONG.name, content)}, "data": {"model": "demo", "stream": "true"}}
    async with clients.http.stream("POST", ADDRESS, **form) as answer:
        begun.set()  # the job is stored
        lines = answer.raise_for_status().aiter_lines()
        return [time.perf_counter() async for line in lines if "transcript.text.delta" in line]


async def main(arguments: argparse.Namespace) -> None:
    logs.configure("warning", "console")
    async with running_stack() as clients:
        await overhead(clients, arguments.calls)
        await deltas(clients, arguments.streams)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=30, help="calls for the overhead")
    parser.add_argument("--streams", type=int, default=15, help="streams for the deltas")
    asyncio.run(main(parser.parse_args()))

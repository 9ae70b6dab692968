import asyncio
import gc
import http.server
import io
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from pathlib import Path

import av
import psutil
import pytest

import media
from audio_text.adapters.probe import CHILD_MODULE, MAX_CHILDREN, PyAvProbe
from audio_text.adapters.probe_protocol import BLOCK_BYTES
from audio_text.domain.media import DEMUXER_OPTIONS
from audio_text.domain.transcript import AudioFacts
from audio_text.errors import (
    EmptyAudioError,
    InvalidAudioError,
    NoSoundTrackError,
    StoreUnavailableError,
    TransientError,
    UploadMissingError,
)
from audio_text.ports import AudioProbe
from fakes.probe import FakeProbe
from services.waiting import until

ReadRange = Callable[[int, int], Awaitable[bytes]]


class Stored:
    """Bytes in a store that counts what is asked of it."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.requests: list[tuple[int, int]] = []

    async def read_range(self, start: int, length: int) -> bytes:
        self.requests.append((start, length))
        return self.data[start : start + length]


class HangingStore:
    """A store that does not answer until it is told to."""

    def __init__(self) -> None:
        self.was_asked, self.was_left, self.go_on = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self.askings = 0

    async def read_range(self, start: int, length: int) -> bytes:
        self.askings += 1
        self.was_asked.set()
        try:
            await self.go_on.wait()
        finally:
            self.was_left.set()
        return bytes(length)


async def look(probe: AudioProbe, data: bytes) -> AudioFacts:
    return await probe.probe(Stored(data).read_range, len(data))


class AudioProbeContract:
    """What every probe does."""

    @pytest.fixture
    def probe(self) -> AudioProbe:
        raise NotImplementedError

    async def test_a_wav_file_says_what_it_holds(self, probe: AudioProbe) -> None:
        facts = await look(probe, media.wav(2.0, rate=22_050, layout="stereo"))
        assert (facts.container, facts.codec) == ("wav", "pcm_s16le")
        assert (facts.sample_rate, facts.channels) == (22_050, 2)
        assert facts.duration == pytest.approx(2.0, abs=0.01)

    async def test_nothing_at_all_is_empty_audio(self, probe: AudioProbe) -> None:
        with pytest.raises(EmptyAudioError):
            await look(probe, b"")

    async def test_a_text_is_no_audio(self, probe: AudioProbe) -> None:
        with pytest.raises(InvalidAudioError):
            await look(probe, media.text())

    async def test_a_video_without_sound_has_no_sound_track(self, probe: AudioProbe) -> None:
        with pytest.raises(NoSoundTrackError):
            await look(probe, media.video_without_sound())

    async def test_an_error_of_the_store_comes_through_as_it_is(self, probe: AudioProbe) -> None:
        async def read_range(start: int, length: int) -> bytes:
            raise UploadMissingError

        with pytest.raises(UploadMissingError):
            await probe.probe(read_range, 1_000)


class TestFakeProbe(AudioProbeContract):
    @pytest.fixture
    def probe(self) -> AudioProbe:
        return FakeProbe()


@pytest.fixture(scope="module")
def pyav_probe() -> PyAvProbe:
    return PyAvProbe()


class TestPyAvProbe(AudioProbeContract):
    @pytest.fixture
    def probe(self, pyav_probe: PyAvProbe) -> AudioProbe:
        return pyav_probe

    @pytest.mark.parametrize("extension", media.RECIPES)
    async def test_each_of_the_nine_formats_is_understood(self, probe: AudioProbe, extension: str) -> None:
        facts = await look(probe, media.recording(extension, 2.0))
        recipe = media.RECIPES[extension]
        assert facts.sample_rate == recipe.rate
        assert facts.channels == (2 if recipe.layout == "stereo" else 1)
        if extension == "aac":
            assert facts.duration is None
        else:
            assert facts.duration == pytest.approx(2.0, abs=0.05)

    @pytest.mark.parametrize("extension", media.RECIPES)
    async def test_a_long_recording_costs_at_most_three_reads(self, probe: AudioProbe, extension: str) -> None:
        stored = Stored(media.recording(extension, 100.0))
        await probe.probe(stored.read_range, len(stored.data))
        assert len(stored.requests) <= 3
        assert all(length <= BLOCK_BYTES for _, length in stored.requests)

    @pytest.mark.parametrize("codec", ["pcm_u8", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le", "pcm_mulaw"])
    async def test_odd_sample_formats_are_understood(self, probe: AudioProbe, codec: str) -> None:
        assert (await look(probe, media.wav(codec=codec))).codec == codec

    async def test_eight_channels_are_understood(self, probe: AudioProbe) -> None:
        assert (await look(probe, media.wav(layout="7.1"))).channels == 8

    @pytest.mark.parametrize("extension", ["mp3", "wav", "flac", "aac", "ogg", "opus", "webm"])
    async def test_a_truncated_recording_is_still_recognised(self, probe: AudioProbe, extension: str) -> None:
        data = media.recording(extension, 10.0)
        assert (await look(probe, data[: len(data) // 3])).sample_rate == media.RECIPES[extension].rate

    async def test_an_mp4_truncated_after_its_index_is_still_recognised(self, probe: AudioProbe) -> None:
        data = media.moov_first(10.0)
        assert (await look(probe, data[: len(data) // 3])).duration == pytest.approx(10.0, abs=0.1)

    async def test_an_mp4_truncated_before_its_index_is_no_audio(self, probe: AudioProbe) -> None:
        data = media.recording("mp4", 10.0)
        with pytest.raises(InvalidAudioError):
            await look(probe, data[: len(data) // 2])

    @pytest.mark.parametrize("extension", ["mp4", "webm"])
    async def test_what_a_browser_records_is_understood(self, probe: AudioProbe, extension: str) -> None:
        assert (await look(probe, media.fragmented(extension, 5.0))).channels == 1

    async def test_an_mp3_behind_a_large_cover_is_understood(self, probe: AudioProbe) -> None:
        assert (await look(probe, media.mp3_with_cover(3_000_000))).duration == pytest.approx(3.0, abs=0.1)

    @pytest.mark.parametrize("seed", range(5))
    async def test_noise_is_no_audio(self, probe: AudioProbe, seed: int) -> None:
        with pytest.raises(InvalidAudioError):
            await look(probe, media.noise(seed=seed))

    @pytest.mark.parametrize("extension", media.RECIPES)
    async def test_damaged_files_raise_our_errors_only(self, probe: AudioProbe, extension: str) -> None:
        chance = random.Random(extension)
        original = media.recording(extension)
        for _ in range(60):
            data = bytearray(original)
            for _ in range(chance.randrange(1, 40)):
                data[chance.randrange(min(2_000, len(data)))] = chance.randrange(256)
            with suppress(InvalidAudioError):
                await look(probe, bytes(data))

    async def test_nothing_is_written_to_the_terminal(self, capfd: pytest.CaptureFixture[str]) -> None:
        probe = PyAvProbe()
        for data in (
            media.text(),
            media.noise(),
            media.recording("mp4", 10.0)[:20_000],
            media.recording("mp3")[:1_000],
        ):
            try:
                await look(probe, data)
            except InvalidAudioError:
                continue
        assert capfd.readouterr() == ("", "")

    async def test_a_small_file_that_promises_gigabytes_is_refused(self, probe: AudioProbe) -> None:
        for samples in (2_000_000, 20_000_000, 85_000_000):
            with pytest.raises(InvalidAudioError):
                await look(probe, media.mp4_that_promises(samples))
        assert (await look(probe, media.mp4_that_promises(100))).codec == "aac"

    async def test_an_index_that_our_memory_cannot_hold_is_refused(self, probe: AudioProbe) -> None:
        data = media.mp4_that_promises(20_000_000)

        async def read_range(start: int, length: int) -> bytes:
            return data[start : start + length].ljust(length, b"\0")

        with pytest.raises(InvalidAudioError):
            await probe.probe(read_range, 1_000_000_000)

    async def test_a_store_that_hangs_is_unavailable(self) -> None:
        probe, store = PyAvProbe(timeout_seconds=2.0), HangingStore()
        with pytest.raises(StoreUnavailableError):
            await probe.probe(store.read_range, 1_000)
        assert store.was_left.is_set()
        assert (await look(probe, media.wav())).channels == 1

    async def test_too_many_probes_of_a_hanging_store_turn_others_away(self) -> None:
        patient = 60.0
        probe, store = PyAvProbe(timeout_seconds=patient), HangingStore()
        async with asyncio.TaskGroup() as group:
            visits = [group.create_task(probe.probe(store.read_range, 1_000)) for _ in range(MAX_CHILDREN)]
            await until(lambda: store.askings == MAX_CHILDREN)
            probe._timeout_seconds = 0.1  # for those who come now: the others hang until they are cancelled
            turned_away = await asyncio.gather(
                *(probe.probe(store.read_range, 1_000) for _ in range(2)), return_exceptions=True
            )
            for visit in visits:
                visit.cancel()
        probe._timeout_seconds = patient
        assert [type(outcome) for outcome in turned_away] == [TransientError] * 2
        assert (await look(probe, media.wav())).channels == 1

    async def test_a_client_that_goes_away_takes_its_probe_along(self) -> None:
        probe, store = PyAvProbe(), HangingStore()
        async with asyncio.TaskGroup() as group:
            visit = group.create_task(probe.probe(store.read_range, 1_000))
            await store.was_asked.wait()
            visit.cancel()
        assert store.was_left.is_set()
        assert (await look(probe, media.wav())).channels == 1

    async def test_a_crash_refuses_the_file_and_nothing_else(self) -> None:
        probe, store = PyAvProbe(), HangingStore()

        async def crash() -> None:
            await store.was_asked.wait()
            for process in psutil.Process().children(recursive=True):
                if CHILD_MODULE in process.cmdline():
                    process.kill()
            store.go_on.set()

        outcome, _ = await asyncio.gather(probe.probe(store.read_range, 1_000), crash(), return_exceptions=True)
        assert isinstance(outcome, InvalidAudioError)
        assert (await look(probe, media.wav())).channels == 1

    async def test_a_child_that_died_in_its_sleep_is_replaced(self) -> None:
        probe = PyAvProbe()
        await look(probe, media.wav())
        for child in probe._children:
            child._process.kill()
            child._process.wait()
        assert (await look(probe, media.wav())).channels == 1

    async def test_a_child_knows_none_of_our_secrets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AUDIO_TEXT_S3_SECRET_KEY", "secret")
        probe = PyAvProbe()
        await look(probe, media.wav())
        (child,) = probe._children
        assert set(psutil.Process(child._process.pid).environ()) <= {"PYTHONPATH", "LC_CTYPE"}

    async def test_the_children_end_with_their_probe(self) -> None:
        probe = PyAvProbe()
        await look(probe, media.wav())
        processes = [child._process for child in probe._children]
        del probe
        gc.collect()
        assert all(process.returncode is not None for process in processes)

    async def test_an_index_without_end_is_refused_after_a_bounded_number_of_bytes(self) -> None:
        stored = Stored(media.recording("mp4", 100.0))
        with pytest.raises(InvalidAudioError):
            await PyAvProbe(max_bytes=BLOCK_BYTES).probe(stored.read_range, len(stored.data))
        assert sum(length for _, length in stored.requests) <= BLOCK_BYTES

    async def test_a_store_that_returns_too_much_does_no_harm(self, probe: AudioProbe) -> None:
        data = media.wav(5.0)

        async def read_range(start: int, length: int) -> bytes:
            return data[start:] + b"\0" * 1_000_000

        assert (await probe.probe(read_range, len(data))).duration == pytest.approx(5.0)

    async def test_many_probes_may_come_at_once(self, probe: AudioProbe, tmp_path: Path) -> None:
        path = tmp_path / "recording.wav"
        path.write_bytes(media.wav(5.0))

        def read(start: int, length: int) -> bytes:
            with path.open("rb") as file:
                file.seek(start)
                return file.read(length)

        async def read_range(start: int, length: int) -> bytes:
            return await asyncio.to_thread(read, start, length)

        facts = await asyncio.gather(*(probe.probe(read_range, path.stat().st_size) for _ in range(60)))
        assert {fact.duration for fact in facts} == {5.0}


class Listener:
    """A loopback web server that remembers who came."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        listener = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listener.paths.append(self.path)
                self.send_error(404)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    with listener.server:
        thread = threading.Thread(target=listener.server.serve_forever, args=(0.02,))
        thread.start()
        yield listener
        listener.server.shutdown()
        thread.join()


def hls(target: str) -> bytes:
    return f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{target}\n#EXT-X-ENDLIST\n".encode()


def concat(target: str) -> bytes:
    return f"ffconcat version 1.0\nfile '{target}'\n".encode()


def dash(target: str) -> bytes:
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT10S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        '<AdaptationSet contentType="audio"><Representation id="1" bandwidth="1">'
        f'<BaseURL>{target}</BaseURL><SegmentBase indexRange="0-10"/></Representation></AdaptationSet></Period></MPD>'
    ).encode()


SDP = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nc=IN IP4 127.0.0.1\r\nt=0 0\r\nm=audio 5004 RTP/AVP 0\r\n"


@pytest.mark.parametrize("playlist", [hls, concat, dash])
async def test_a_playlist_makes_nobody_call_anywhere(
    pyav_probe: PyAvProbe, playlist: Callable[[str], bytes], listener: Listener
) -> None:
    with pytest.raises(InvalidAudioError):
        await look(pyav_probe, playlist(f"{listener.url}/recording.wav"))
    assert listener.paths == []


@pytest.mark.parametrize("playlist", [hls, concat, dash])
async def test_a_playlist_opens_no_local_file(
    pyav_probe: PyAvProbe, playlist: Callable[[str], bytes], tmp_path: Path
) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(media.wav())
    for target in (str(path), f"file://{path}", path.name):
        with pytest.raises(InvalidAudioError):
            await look(pyav_probe, playlist(target))


async def test_a_session_description_is_no_audio(pyav_probe: PyAvProbe) -> None:
    with pytest.raises(InvalidAudioError):
        await look(pyav_probe, SDP)


@pytest.mark.parametrize("wall", ["format_whitelist", "protocol_whitelist"])
def test_each_wall_alone_keeps_a_playlist_from_calling(wall: str, listener: Listener) -> None:
    playlist = hls(f"{listener.url}/segment.ts")

    def open_with(options: dict[str, str]) -> None:
        with pytest.raises(av.FFmpegError), av.open(io.BytesIO(playlist), "r", format="hls", options=options):
            pass

    open_with({wall: DEMUXER_OPTIONS[wall]})
    assert listener.paths == []
    # without it FFmpeg does call: the wall is what held
    open_with({})
    assert listener.paths == ["/segment.ts"]

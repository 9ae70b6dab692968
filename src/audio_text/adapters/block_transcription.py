"""Whisper over the blocks of one recording: times, language, prompt and ids run on from block to block."""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from audio_text.adapters.assignment import Assignment
from audio_text.adapters.audio_blocks import Block, Blocks
from audio_text.adapters.audio_decoding import Samples
from audio_text.adapters.decoder_protocol import SAMPLE_RATE
from audio_text.adapters.whisper import HeardWindow, VendorInfo, VendorSegment, Whisper, WindowStart, whisper_errors
from audio_text.domain.blocks import PROMPT_TOKENS, Progress, prompt_tokens
from audio_text.domain.transcript import NextWindow, Segment, TranscriptChunk, Word
from audio_text.errors import InvalidRequestError
from audio_text.ports import ResumePoint

FRAMES_PER_SECOND = 100
"""Whisper's feature frames, the unit of `seek`."""

UNSAFE_SECONDS = 1.0
"""A segment that ends so close to a cut through speech may have lost its end."""

DECODER_POSITIONS = 448
"""Whisper's: hotwords, earlier text and the new text share them, and faster-whisper does not see to it."""

SPECIAL_TOKENS = 4
"""Ahead of the new text: previous text begins, transcript begins, language, task."""

NEW_TEXT_TOKENS = 100
"""Room that a window needs at the least; without any left the decoder fails."""

ECHO_SECONDS = 0.1
"""Nobody begins to speak so close to a cut: what begins here was read into the emptiness after it."""

EXACT_DIGITS = 7
"""Decimals of a whole number of samples in seconds: a sample lasts 0.0000625."""

Prepare = Callable[[Whisper, WindowStart, Samples, dict[str, Any]], tuple[Iterator[HeardWindow], VendorInfo]]
"""Whisper.transcribe_from, wherever it runs."""


def require_language(whisper: Whisper, model: str, language: str | None) -> None:
    """Raise InvalidRequestError when the model cannot be told this language."""
    known = whisper.supported_languages
    if len(known) > 1:
        known = [code for code in known if whisper.hf_tokenizer.token_to_id(f"<|{code}|>") is not None]
    if language is not None and language not in known:
        raise InvalidRequestError(
            f'The model "{model}" does not know the language "{language}". It knows: {", ".join(known)}.'
        )


class BlockTranscription:
    """One pass over a recording, or over the rest of it."""

    def __init__(
        self,
        whisper: Whisper,
        assignment: Assignment,
        blocks: Blocks,
        *,
        prepare: Prepare,
        estimate: Callable[[float], float],
    ) -> None:
        """`estimate` tells the end of what is to be heard, in seconds of the recording, given what was decoded."""
        self._whisper = whisper
        self._options = options = assignment.options
        self._blocks = blocks
        self._prepare = prepare
        self._estimate = estimate
        self._begin = assignment.begin
        self._progress = Progress()
        self._reached = assignment.position
        self._block_start = self._begin
        self._next_window: NextWindow | None = None
        self._kept_until = self._sample(self._reached)
        self._next_id = 0
        self._language = options.language
        self._language_probability = None if options.language is None else 1.0
        self._prompt = self._initial_prompt()
        self._hotwords = self._fitting_hotwords()
        self._after_vad = 0.0
        if assignment.resume:
            self._continue(assignment.resume)

    def chunks(self) -> Iterator[TranscriptChunk]:
        """A chunk for every window with segments and for the end of every block; the last tells the exact duration."""
        while block := self._blocks.read():
            yield from self._block_chunks(block)
        yield self._chunk(position=self._seconds(self._blocks.samples_read))

    def resume_point(self) -> ResumePoint:
        """Where another pass, after this one broke off, has to go on so that both together are one."""
        return ResumePoint(
            position=self._reached,
            next_segment_id=self._next_id,
            duration_after_vad=self._after_vad,
            language=self._language,
            language_probability=self._language_probability,
            previous_tokens=self._prompt,
            block_start=self._block_start,
            next_window=self._next_window,
        )

    def _block_chunks(self, block: Block) -> Iterator[TranscriptChunk]:
        self._block_start = self._seconds(block.grid_start)
        self._kept_until = min(block.end, max(block.start, self._kept_until))
        with whisper_errors():
            windows, info = self._prepare(
                self._whisper, self._start(block), self._blocks.samples(block), self._vendor_options()
            )
        before_vad = self._after_vad - info.duration_after_vad * _share(self._kept_until, block)
        kept: list[Segment] = []
        for window in _guarded(windows):
            kept = list(self._kept(window, block, info))
            if len(kept) < len(window.segments):
                break
            self._after_vad = before_vad + info.duration_after_vad * _share(self._kept_until, block)
            self._next_window = self._window_after(window, block)
            yield self._chunk(*kept, position=kept[-1].end)
            kept = []
        end = block.end
        if self._is_cut_through_speech(block):
            # hear what came after the last whole segment again, with its end
            end = self._kept_until
            self._blocks.go_back(end)
        self._after_vad = before_vad + info.duration_after_vad * _share(end, block)
        self._next_window = None
        if not block.is_last:
            self._block_start = self._seconds(end)
            yield self._chunk(*kept, position=self._seconds(end))

    def _start(self, block: Block) -> WindowStart:
        if self._next_window is None:
            return WindowStart()
        return WindowStart(self._next_window.seek - self._first_frame(block), self._next_window.spoken_until)

    def _window_after(self, window: HeardWindow, block: Block) -> NextWindow | None:
        if block.start > block.grid_start:
            return None  # only the rest of the block is heard, and its windows lie elsewhere
        frame, spoken_until = window.next_start
        return NextWindow(seek=self._first_frame(block) + frame, spoken_until=spoken_until)

    def _kept(self, window: HeardWindow, block: Block, info: VendorInfo) -> Iterator[Segment]:
        """The segments up to the first that the end of the block may have spoilt."""
        block_end = self._seconds(block.end)
        for heard in window.segments:
            segment = self._segment(heard, block)
            if not block.is_last and segment.start > block_end - ECHO_SECONDS:
                break
            if self._is_cut_through_speech(block) and segment.end > block_end - UNSAFE_SECONDS:
                break
            self._keep(segment, info)
            self._kept_until = min(block.end, max(self._kept_until, self._sample(segment.end)))
            yield segment

    def _is_cut_through_speech(self, block: Block) -> bool:
        return not block.is_cut_in_pause and self._kept_until >= block.cut_from

    def _keep(self, segment: Segment, info: VendorInfo) -> None:
        self._next_id += 1
        if self._language is None:
            # of a recording without words no language is known, whatever a model takes silence for
            self._language, self._language_probability = info.language, float(info.language_probability)
        if self._options.condition_on_previous_text:
            self._prompt = prompt_tokens([segment], before=self._prompt)
        else:
            self._prompt = ()

    def _chunk(self, *segments: Segment, position: float) -> TranscriptChunk:
        self._reached = position
        decoded = self._seconds(self._blocks.samples_read)
        end = decoded if self._blocks.is_exhausted else self._estimate(decoded)
        clip_start = self._options.clip_start_seconds
        position, duration = self._progress.at(min(position, end) - clip_start, end - clip_start)
        if self._next_window:
            self._next_window = msgspec.structs.replace(self._next_window, position=position)
        return TranscriptChunk(
            segments=segments,
            position=position,
            duration=duration,
            duration_after_vad=self._after_vad,
            language=self._language,
            language_probability=self._language_probability,
            block_start=self._block_start,
            next_window=self._next_window,
            device=self._whisper.model.device,
            compute_type=self._whisper.model.compute_type,
        )

    def _segment(self, heard: VendorSegment, block: Block) -> Segment:
        offset = self._seconds(block.start)
        end = _at(heard.end, offset)
        if not block.is_last:
            # the model may take a sound for longer than it could hear it; the next block begins at the cut
            end = min(end, round(self._seconds(block.end), 3))
        words = (
            None
            if heard.words is None
            else tuple(
                Word(
                    start=_at(word.start, offset),
                    end=_at(word.end, offset),
                    word=word.word,
                    probability=float(word.probability),
                )
                for word in heard.words
            )
        )
        return Segment(
            id=self._next_id,
            seek=heard.seek + self._first_frame(block),
            start=_at(heard.start, offset),
            end=end,
            text=heard.text,
            tokens=tuple(heard.tokens),
            temperature=float(heard.temperature),
            avg_logprob=float(heard.avg_logprob),
            compression_ratio=float(heard.compression_ratio),
            no_speech_prob=float(heard.no_speech_prob),
            words=words,
        )

    def _vendor_options(self) -> dict[str, Any]:
        options = self._options
        return {
            "language": self._language,
            "task": options.task.value,
            "beam_size": options.beam_size,
            "temperature": list(options.temperature),
            "condition_on_previous_text": options.condition_on_previous_text,
            "initial_prompt": list(self._prompt),
            "hotwords": self._hotwords,
            "word_timestamps": options.word_timestamps,
            "vad_filter": options.vad_filter,
            "vad_parameters": msgspec.structs.asdict(options.vad),
        }

    def _initial_prompt(self) -> tuple[int, ...]:
        text = self._options.initial_prompt
        if text is None:
            return ()
        # as faster-whisper does with a text, so that the next block can be given text and prompt together
        return tuple(self._whisper.hf_tokenizer.encode(" " + text.strip(), add_special_tokens=False).ids)

    def _fitting_hotwords(self) -> str | None:
        """As many of the hotwords as the decoder has room for."""
        text = self._options.hotwords
        if text is None:
            return None
        earlier = PROMPT_TOKENS if self._options.condition_on_previous_text else min(PROMPT_TOKENS, len(self._prompt))
        room = DECODER_POSITIONS - SPECIAL_TOKENS - NEW_TEXT_TOKENS - earlier
        tokenizer = self._whisper.hf_tokenizer
        tokens = tokenizer.encode(" " + text.strip(), add_special_tokens=False).ids
        return text if len(tokens) <= room else tokenizer.decode(tokens[:room])

    def _continue(self, resume: ResumePoint) -> None:
        self._next_id = resume.next_segment_id
        self._after_vad = resume.duration_after_vad
        if self._language is None:
            self._language, self._language_probability = resume.language, resume.language_probability
        self._next_window = resume.next_window
        if resume.next_segment_id > 0:
            before = self._prompt if resume.keeps_prompt else ()
            tokens = (*before, *resume.previous_tokens)[-PROMPT_TOKENS:]
            self._prompt = tokens if self._options.condition_on_previous_text else ()

    def _seconds(self, sample: int) -> float:
        """Of the recording: the same, wherever this pass began."""
        return round(self._begin + sample / SAMPLE_RATE, EXACT_DIGITS)

    def _first_frame(self, block: Block) -> int:
        return round(self._seconds(block.start) * FRAMES_PER_SECOND)

    def _sample(self, seconds: float) -> int:
        return round((seconds - self._begin) * SAMPLE_RATE)


def _at(seconds: float, offset: float) -> float:
    # untouched where nothing lies before it, so that it is what faster-whisper said, bit for bit
    return round(float(seconds) + offset, 3) if offset else float(seconds)


def _share(sample: int, block: Block) -> float:
    return (sample - block.start) / (block.end - block.start)


def _guarded(windows: Iterator[HeardWindow]) -> Iterator[HeardWindow]:
    with whisper_errors():
        yield from windows

"""Recordings for tests: the shipped samples, put together and encoded as a test needs them."""

import json
import random
import re
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.audio.fifo import AudioFifo
from numpy.typing import NDArray

from media import RECIPES, REPRODUCIBLE, Recipe

DATA = Path(__file__).parent / "data"
MEMO = Path(__file__).parents[1] / "src" / "audio_text" / "data" / "recordings" / "memo_35s.wav"
RATE = 16_000

Samples = NDArray[np.int16]


class Spoken(NamedTuple):
    """A word and when it is spoken, in seconds."""

    word: str
    start: float
    end: float


class Sentence(NamedTuple):
    samples: Samples
    words: list[Spoken]


def path_of(name: str) -> Path:
    return MEMO if name == "memo_35s" else DATA / f"{name}.flac"


def text_of(name: str) -> str:
    return json.loads(path_of(name).with_suffix(".json").read_text())["text"]


@cache
def samples_of(name: str) -> Samples:
    with av.open(str(path_of(name))) as media:
        return np.concatenate([frame.to_ndarray().ravel() for frame in media.decode(audio=0)]).astype(np.int16)


@cache
def sentences() -> list[Sentence]:
    """Every sentence of the samples, without the silence around it."""
    found: list[Sentence] = []
    for name in ("one_a", "one_b", "two", "memo_35s", "memo_100s"):
        for sentence in json.loads(path_of(name).with_suffix(".json").read_text())["sentences"]:
            begin = sentence["start"]
            samples = samples_of(name)[round(begin * RATE) : round(sentence["end"] * RATE)]
            words = [Spoken(plain(w["word"]), w["start"] - begin, w["end"] - begin) for w in sentence["words"]]
            found.append(Sentence(samples, words))
    return found


def conversation(seconds: float, *, pauses: tuple[float, float], seed: int = 1) -> Sentence:
    """Sentences in any order, `pauses` seconds (least, most) between them, as long as asked for or a little longer."""
    generator = random.Random(seed)
    pieces: list[Samples] = [silence(0.4)]
    words: list[Spoken] = []
    length = pieces[0].size
    while length < seconds * RATE:
        sentence = generator.choice(sentences())
        words += [Spoken(word, length / RATE + start, length / RATE + end) for word, start, end in sentence.words]
        pieces += [sentence.samples, silence(generator.uniform(*pauses))]
        length += pieces[-2].size + pieces[-1].size
    return Sentence(np.concatenate(pieces), words)


def silence(seconds: float) -> Samples:
    return np.zeros(round(seconds * RATE), np.int16)


def words_of(texts: Iterable[str]) -> list[str]:
    return [word for text in texts for word in map(plain, text.split()) if word]


def plain(word: str) -> str:
    return re.sub(r"[^a-z']", "", word.lower())


def write(path: Path, samples: Samples, recipe: Recipe | None = None) -> Path:
    """Encode 16 kHz mono samples by the recipe, or by that of the path's extension."""
    return _write(path, samples, recipe or RECIPES[path.suffix[1:]], layout="mono")


def write_channels(path: Path, *channels: Samples) -> Path:
    """Encode each as a channel of its own, with silence after the shorter ones."""
    layout = {1: "mono", 2: "stereo"}.get(len(channels), f"{len(channels)} channels")
    rows = np.zeros((len(channels), max(channel.size for channel in channels)), np.int16)
    for row, channel in zip(rows, channels, strict=True):
        row[: channel.size] = channel
    recipe = RECIPES[path.suffix[1:]]._replace(layout=layout)
    return _write(path, rows.T.reshape(-1), recipe, layout=layout)


def _write(path: Path, samples: Samples, recipe: Recipe, *, layout: str) -> Path:
    with av.open(str(path), "w", format=recipe.container, options=REPRODUCIBLE) as out:
        options = {"strict": "experimental"}
        stream = out.add_stream(recipe.codec, rate=recipe.rate, layout=recipe.layout, options=options)
        resampler = av.AudioResampler(format=stream.format, layout=recipe.layout, rate=recipe.rate)
        fifo = AudioFifo()
        frame = av.AudioFrame.from_ndarray(samples[np.newaxis], format="s16", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = RATE, 0, Fraction(1, RATE)
        for converted in [*resampler.resample(frame), *resampler.resample(None)]:
            if converted is not None:
                fifo.write(converted)
        while ready := fifo.read(stream.codec_context.frame_size or 1024, partial=True):
            out.mux(stream.encode(ready))
        out.mux(stream.encode(None))
    return path


def in_pieces(samples: Samples, size: int = RATE) -> Iterable[Samples]:
    return (samples[index : index + size] for index in range(0, samples.size, size))


def joined(pieces: Sequence[Samples] | Iterable[Samples]) -> Samples:
    return np.concatenate([np.zeros(0, np.int16), *pieces])

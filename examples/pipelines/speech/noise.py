"""What a bad microphone adds or takes: white noise and babble at a given SNR, a band limit, clipping. Pure functions of a 16 kHz sound."""

from functools import lru_cache
from typing import Final

import numpy as np
from scipy.signal import butter, sosfilt

from examples.pipelines.speech.sentences import corpus
from examples.pipelines.speech.voice import RATE_HZ, Sound, Voice, speak

_BABBLE_VOICES: Final = ("en-us+m7", "en-us+f3", "en-us+m1", "en-us+f5", "en-us+m8")
_BABBLE_SENTENCES: Final = 4
_LOW_PASS_ORDER: Final = 8


def power(sound: Sound) -> float:
    return float(np.mean(sound.astype(np.float64) ** 2))


def at_snr(noise: Sound, *, speech_power: float, snr_db: float) -> Sound:
    """`noise` scaled so that `speech_power` over its power is `snr_db`."""
    gain = np.sqrt(speech_power / (max(power(noise), 1e-12) * 10 ** (snr_db / 10)))
    return np.asarray(noise * gain, dtype=np.float32)


def white(length: int, rng: np.random.Generator) -> Sound:
    return rng.standard_normal(length).astype(np.float32)


@lru_cache(maxsize=1)
def _babble_loop() -> Sound:
    """Five voices saying several sentences each, mixed into a loop of the shortest one's length, each at the same power."""
    tracks = []
    texts = [sentence.text for sentence in corpus().training]
    for i, name in enumerate(_BABBLE_VOICES):
        voice = Voice(name=name, words_per_minute=170, pitch=50)
        track = np.concatenate([speak(texts[(37 * (_BABBLE_SENTENCES * i + j)) % len(texts)], voice) for j in range(_BABBLE_SENTENCES)])
        tracks.append(track / np.sqrt(power(track)))
    length = min(len(track) for track in tracks)
    mixed: Sound = np.sum([track[:length] for track in tracks], axis=0).astype(np.float32)
    return mixed


def babble(length: int, rng: np.random.Generator) -> Sound:
    """A stretch of several people talking at once, starting at a random place of a loop."""
    loop = _babble_loop()
    start = int(rng.integers(len(loop)))
    return np.resize(np.roll(loop, -start), length).astype(np.float32)


def low_pass(sound: Sound, cutoff_hz: float) -> Sound:
    sections = butter(_LOW_PASS_ORDER, cutoff_hz, fs=RATE_HZ, output="sos")
    return np.asarray(sosfilt(sections, sound), dtype=np.float32)


def clip(sound: Sound, *, ceiling: float) -> Sound:
    """Samples beyond ±`ceiling` flattened, then brought back to the old scale of the ceiling."""
    return np.clip(sound, -ceiling, ceiling).astype(np.float32)

"""Voices: espeak-ng called by ctypes, resampled to 16 kHz, padded with a quiet room, so that the bounds of the speech are known.

espeak keeps the state of its flutter and noise in static variables that outlive its own Terminate, so a sentence would sound different after
another one. Every utterance is therefore spoken by a freshly loaded library (3 ms), which makes the sound a pure function of its arguments.
"""

import _ctypes
import ctypes
import threading
from dataclasses import dataclass
from typing import Final

import espeakng_loader
import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from examples.pipelines.speech.sentences import Sentence, draw

RATE_HZ: Final = 16_000
_ESPEAK_RATE_HZ: Final = 22_050
_UP, _DOWN = 320, 441  # 16000 / 22050
_SYNCHRONOUS: Final = 2  # espeak_AUDIO_OUTPUT: AUDIO_OUTPUT_SYNCHRONOUS
_UTF8: Final = 1
_PARAMETER_RATE, _PARAMETER_PITCH = 1, 3
_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_ONE_AT_A_TIME = threading.Lock()

# Chosen because the acoustic model understands them; others of espeak's voices fail half the time on clean speech.
VOICES: Final = ("en-us", "en-us+m2", "en-us+m3", "en-us+f1", "en-us+f2", "gmw/en-US-nyc")

Sound = NDArray[np.float32]
"""Mono samples at 16 kHz, full scale ±1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Voice:
    """Who speaks and how: espeak voice `name`, `words_per_minute`, `pitch` 0..99."""

    name: str
    words_per_minute: int
    pitch: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Utterance:
    """One spoken command as it reaches the microphone, with what is true of it.

    `sound` is float32 at 16 kHz; the speech lies in samples [`speech_start`, `speech_stop`). `seed` drives whatever chance the stages need, so
    that rerunning one with another configuration hears the same noise.
    """

    key: str
    sentence: Sentence
    voice: Voice
    seed: int
    sound: Sound
    speech_start: int
    speech_stop: int

    @property
    def duration_s(self) -> float:
        return len(self.sound) / RATE_HZ


def speak(text: str, voice: Voice) -> Sound:
    """`text` as `voice` says it: float32, 16 kHz, silence trimmed at both ends, peak 1.

    Raises:
        ValueError: espeak does not know the voice.
        OSError: the library in the espeakng-loader wheel cannot be loaded.
    """
    chunks: list[NDArray[np.int16]] = []

    def collect(samples: "ctypes._Pointer[ctypes.c_short]", count: int, _events: int) -> int:
        if count > 0 and samples:
            chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    callback = _CALLBACK(collect)  # referenced until espeak has ended
    with _ONE_AT_A_TIME:
        library = ctypes.CDLL(espeakng_loader.get_library_path())
        try:
            library.espeak_Initialize(_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))
            library.espeak_SetSynthCallback(callback)
            if library.espeak_SetVoiceByName(voice.name.encode()) != 0:
                message = f"espeak-ng knows no voice {voice.name!r}; known to work: {', '.join(VOICES)}"
                raise ValueError(message)
            library.espeak_SetParameter(_PARAMETER_RATE, voice.words_per_minute, 0)
            library.espeak_SetParameter(_PARAMETER_PITCH, voice.pitch, 0)
            encoded = text.encode()
            library.espeak_Synth(encoded, len(encoded) + 1, 0, 0, 0, _UTF8, None, None)
            library.espeak_Synchronize()
            library.espeak_Terminate()
        finally:
            _ctypes.dlclose(library._handle)  # noqa: SLF001 - the one way to forget the static state
    sound = resample_poly(np.concatenate(chunks).astype(np.float64) / 32768.0, _UP, _DOWN)
    loud = np.flatnonzero(np.abs(sound) > 0.01 * np.abs(sound).max())
    sound = sound[loud[0] : loud[-1] + 1]
    return np.asarray(sound / np.abs(sound).max(), dtype=np.float32)


def utter(sentence: Sentence, *, key: str, seed: int) -> Utterance:
    """`sentence` spoken by a voice drawn from `seed`, in a quiet room: loudness, pads and room noise are drawn too."""
    rng = np.random.default_rng(seed)
    voice = Voice(
        name=VOICES[int(rng.integers(len(VOICES)))],
        words_per_minute=int(rng.integers(140, 181)),
        pitch=int(rng.integers(35, 65)),
    )
    speech = speak(sentence.text, voice) * np.float32(rng.uniform(0.25, 0.6))
    lead, tail = (int(rng.uniform(low, high) * RATE_HZ) for low, high in ((0.4, 0.7), (0.5, 0.9)))
    sound = np.concatenate([np.zeros(lead, np.float32), speech, np.zeros(tail, np.float32)])
    room = float(np.sqrt(np.mean(speech.astype(np.float64) ** 2))) * 10 ** (-rng.uniform(32, 44) / 20)
    sound = (sound + rng.normal(0.0, room, len(sound))).astype(np.float32)
    sound.setflags(write=False)
    return Utterance(key=key, sentence=sentence, voice=voice, seed=seed, sound=sound, speech_start=lead, speech_stop=lead + len(speech))


def utterances(count: int, *, seed: int) -> list[Utterance]:
    """`count` utterances, the same for the same `seed` whatever was spoken before; keys are ``u<seed>-<number>``."""
    rng = np.random.default_rng(seed)
    sentences = draw(count, rng)
    seeds = rng.integers(2**31, size=count)
    return [utter(sentence, key=f"u{seed}-{i:04d}", seed=int(seeds[i])) for i, sentence in enumerate(sentences)]

"""Stage 1, mobile input: the microphone and its front end. Turns the sound in the room into 16-bit samples."""

from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.signal import welch

from examples.pipelines.speech import noise
from examples.pipelines.speech.voice import RATE_HZ, Sound

Noise = Literal["none", "white", "babble"]
Samples = NDArray[np.int16]

# The app opens the microphone before it shows "speak now": nothing but the room is in the first quarter of a second.
_PRE_ROLL_S: Final = 0.25
_FRAME: Final = RATE_HZ // 100
_LOUD_PERCENTILE: Final = 90
_FLOOR: Final = 1e-9
_BANDWIDTH_DROP_DB: Final = 45.0
_TOP_SAMPLE: Final = 32_440  # 99 % of full scale
_SCALE: Final = 32_767


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptureConfig:
    """The front end: `firmware`, the `noise` it lets through at `snr_db`, its `cutoff_hz` and its `ceiling` (1 = full scale)."""

    firmware: str = "4.2.0"
    noise: Noise = "none"
    snr_db: float = 60.0
    cutoff_hz: float | None = None
    ceiling: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Captured:
    """16-bit `samples` at 16 kHz and what the front end can tell about them without knowing the words."""

    samples: Samples
    snr_db: float
    clipped_share: float
    bandwidth_hz: float

    @property
    def duration_s(self) -> float:
        return len(self.samples) / RATE_HZ


def capture(sound: Sound, config: CaptureConfig, *, seed: int) -> Captured:
    """`sound` through the front end. The same `seed` gives the same noise under every configuration."""
    rng = np.random.default_rng(seed)
    heard = sound
    if config.noise != "none":
        made = noise.white(len(sound), rng) if config.noise == "white" else noise.babble(len(sound), rng)
        heard = heard + noise.at_snr(made, speech_power=_speech_power(sound), snr_db=config.snr_db)
    if config.cutoff_hz is not None:
        heard = noise.low_pass(heard, config.cutoff_hz)
    heard = noise.clip(heard, ceiling=config.ceiling)
    samples = np.round(np.clip(heard, -1.0, 1.0) * _SCALE).astype(np.int16)
    samples.setflags(write=False)
    return Captured(samples=samples, snr_db=estimated_snr_db(samples), clipped_share=clipped_share(samples), bandwidth_hz=bandwidth_hz(samples))


def _frame_power(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean square per 10 ms frame."""
    frames = values[: len(values) // _FRAME * _FRAME].reshape(-1, _FRAME)
    return np.asarray(np.mean(frames**2, axis=1), dtype=np.float64)


def _speech_power(sound: Sound) -> float:
    """Power of the frames that hold speech: those above a hundredth of the loudest."""
    frames = _frame_power(sound.astype(np.float64))
    return float(np.mean(frames[frames > 0.01 * frames.max()]))


def estimated_snr_db(samples: Samples) -> float:
    """Loud frames over the pre-roll, in dB. Estimated on the pad: a percentile ratio over everything depends on how much silence surrounds it."""
    frames = _frame_power(samples.astype(np.float64) / _SCALE)
    pad = frames[: int(_PRE_ROLL_S * 100)]
    return float(10 * np.log10((np.percentile(frames, _LOUD_PERCENTILE) + _FLOOR) / (np.mean(pad) + _FLOOR)))


def clipped_share(samples: Samples) -> float:
    """Share of samples at a flat top: within 1 % of full scale, or equal to the extreme value many times over."""
    top = int(np.abs(samples.astype(np.int32)).max(initial=0))
    return float(np.mean(np.abs(samples.astype(np.int32)) >= min(_TOP_SAMPLE, max(top, 1))))


def bandwidth_hz(samples: Samples) -> float:
    """Highest frequency whose power density is within 45 dB of the strongest."""
    frequencies, density = welch(samples.astype(np.float64), fs=RATE_HZ, nperseg=512)
    level = 10 * np.log10(np.asarray(density, dtype=np.float64) + _FLOOR)
    return float(frequencies[np.flatnonzero(level >= level.max() - _BANDWIDTH_DROP_DB)[-1]])

"""The configuration of the whole pipeline, and the faults that can be switched on: one frozen value per stage."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, cast, get_args

from examples.pipelines.speech.asr import AsrConfig
from examples.pipelines.speech.capture import CaptureConfig
from examples.pipelines.speech.nlu import NluConfig
from examples.pipelines.speech.vad import VadConfig

Stage = Literal["capture", "vad", "asr", "nlu"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)

Config = CaptureConfig | VadConfig | AsrConfig | NluConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What every stage runs with; the default is the healthy pipeline."""

    capture: CaptureConfig = field(default_factory=CaptureConfig)
    vad: VadConfig = field(default_factory=VadConfig)
    asr: AsrConfig = field(default_factory=AsrConfig)
    nlu: NluConfig = field(default_factory=NluConfig)


HEALTHY: Final = Setup()

# The recogniser that was rolled back to last year's language model does not have the words added since; the lexicon misses others.
STALE_WORDS: Final = frozenset(
    ("fifteen", "forty", "hallway", "garage", "denver", "madrid", "michael", "martha", "onions", "coffee", "folk", "hospital", "tonight", "heater")
)
FORGOTTEN_WORDS: Final = frozenset(
    ("twelve", "fifty", "bathroom", "cellar", "dallas", "london", "laura", "peter", "rice", "butter", "country", "museum", "sunday", "radio")
)
RENAMED_WORDS: Final = frozenset(
    ("ten", "thirty", "kitchen", "office", "boston", "seattle", "susan", "david", "milk", "apples", "jazz", "airport", "monday", "fan")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that can go wrong at one stage: the configuration that stands in for the healthy one.

    `held_back` faults are never drawn unless asked for by name or with ``kinds="unseen"``: they judge a method on kinds it was not made for.
    """

    name: str
    stage: Stage
    config: Config
    brief: str
    held_back: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.config, type(getattr(HEALTHY, self.stage))):
            message = (
                f"fault {self.name!r} at {self.stage!r} needs a {type(getattr(HEALTHY, self.stage)).__name__}, found {type(self.config).__name__}"
            )
            raise TypeError(message)


FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for fault in (
        Fault(
            name="white",
            stage="capture",
            config=CaptureConfig(firmware="4.3.0-preamp", noise="white", snr_db=12.0),
            brief="a preamplifier setting adds white noise, 12 dB below the speech",
        ),
        Fault(
            name="babble",
            stage="capture",
            config=CaptureConfig(firmware="4.3.0-omni", noise="babble", snr_db=13.0),
            brief="the directional microphone is off: other voices, 13 dB below the speech",
        ),
        Fault(
            name="narrow",
            stage="capture",
            config=CaptureConfig(firmware="5.0.0-headset", cutoff_hz=1600.0),
            brief="a new headset passes nothing above 1.6 kHz",
        ),
        Fault(
            name="strict",
            stage="vad",
            config=VadConfig(threshold=0.99, padding_ms=0, hangover_ms=0),
            brief="threshold .99 without padding and hangover cuts speech away",
        ),
        Fault(name="stale", stage="asr", config=AsrConfig(release="2025-09", missing=STALE_WORDS), brief="a language model without 14 newer words"),
        Fault(name="forgotten", stage="nlu", config=NluConfig(release="8", missing=FORGOTTEN_WORDS), brief="a lexicon that lost 14 slot values"),
        Fault(
            name="clipped",
            stage="capture",
            config=CaptureConfig(firmware="4.3.1-gain", ceiling=0.02),
            brief="gain set so high that the speech is clipped to a square wave",
            held_back=True,
        ),
        Fault(
            name="deaf",
            stage="vad",
            config=VadConfig(threshold=0.995, padding_ms=0, hangover_ms=100),
            brief="threshold .995, no padding, a hangover of 100 ms",
            held_back=True,
        ),
        Fault(name="hasty", stage="asr", config=AsrConfig(beam=1e-20), brief="a search beam so narrow that right paths are given up", held_back=True),
        Fault(
            name="renamed",
            stage="nlu",
            config=NluConfig(release="9", missing=RENAMED_WORDS),
            brief="a lexicon whose 14 other values were renamed",
            held_back=True,
        ),
    )
}


def faults_of(stage: Stage, *, held_back: bool = False) -> tuple[Fault, ...]:
    """The faults that can be drawn at `stage`: the ordinary ones, or those kept back."""
    return tuple(fault for fault in FAULTS.values() if fault.stage == stage and fault.held_back == held_back)


def with_faults(setup: Setup, faults: Iterable[Fault]) -> Setup:
    """`setup` with each fault's configuration in place of its stage's. Two faults of one stage: the last one stands."""
    for fault in faults:
        setup = replace(setup, **cast("dict[str, Any]", {fault.stage: fault.config}))
    return setup


def faulty_stages(setup: Setup) -> tuple[Stage, ...]:
    """Stages whose configuration is not the healthy one, in pipeline order."""
    return tuple(stage for stage in STAGES if getattr(setup, stage) != getattr(HEALTHY, stage))


def repaired(setup: Setup, keep: Iterable[Stage]) -> Setup:
    """`setup` with every stage outside `keep` set back to the healthy configuration."""
    kept = set(keep)
    return Setup(**{stage: getattr(setup if stage in kept else HEALTHY, stage) for stage in STAGES})

"""headwater: which stage of a multi-model pipeline began it.

This is the face of the wrapper, and nothing more: a program that only wraps its stages imports the OpenTelemetry API and the standard library.

    import headwater as hw

    @hw.stage("asr", model="whisper@1.2.3", confidence="conf", quality={"oov": hw.own(oov_share)})
    def transcribe(audio): ...

    with hw.run("speech", run_id="order-17") as run:
        answer = transcribe(audio)
        token = hw.token()
    hw.outcome(token, loss=1.0, label="wrong")  # hours later, from any process
"""

from headwater import faults
from headwater.instrument.configure import configure, flush, shutdown
from headwater.instrument.extract import difficulty, own
from headwater.instrument.outcome import outcome, token
from headwater.instrument.protect import BreakerOpenError, breaker
from headwater.instrument.redact import redact
from headwater.instrument.resume import headers, resume
from headwater.instrument.run import pipeline, run
from headwater.instrument.stage import stage
from headwater.instrument.zero import instrument, uninstrument

__all__ = [
    "BreakerOpenError",
    "breaker",
    "configure",
    "difficulty",
    "faults",
    "flush",
    "headers",
    "instrument",
    "outcome",
    "own",
    "pipeline",
    "redact",
    "resume",
    "run",
    "shutdown",
    "stage",
    "token",
    "uninstrument",
]

"""What ``opentelemetry-instrument`` finds through the entry point group ``opentelemetry_instrumentor``."""

from collections.abc import Collection
from typing import Any

from opentelemetry.instrumentation.instrumentor import BaseInstrumentor  # type: ignore[attr-defined]  # its module opts out of type checking

from headwater.instrument.boot import start, stop


class HeadwaterInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """headwater.toml put in force, and a provider set up where the distribution has set up none."""

    def instrumentation_dependencies(self) -> Collection[str]:
        return ()

    def _instrument(self, **kwargs: Any) -> None:
        del kwargs
        start()

    def _uninstrument(self, **kwargs: Any) -> None:
        del kwargs
        stop()

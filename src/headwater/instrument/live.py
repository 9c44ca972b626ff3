"""The tracer in force, looked up in module globals at each call.

A wrapper that captured a tracer could not be cloudpickled, and one decorated before the provider was set would stay dark. The look-up costs a
dictionary read; everything else is done once per provider.
"""

import os
import sys
from typing import Any, Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import NoOpTracer, Tracer

SCOPE: Final = "headwater"
OUTCOME_SCOPE: Final = "headwater.outcome"
# The key under which the API keeps the current span, learned through its public door.
SPAN_KEY: Final = next(iter(trace.set_span_in_context(trace.INVALID_SPAN, Context())))

# get_tracer_provider() reads os.environ at each call; the global it guards costs a tenth. If a later API renames it, the public call serves.
API: Final[dict[str, Any]] = vars(trace)
GLOBAL: Final = "_TRACER_PROVIDER"
UNSEEN: Final = object()


class Seen:
    """What was learned about one provider. Replaced as a whole, so that a reader in another thread never sees half of it."""

    __slots__ = ("parent_decides", "provider", "tracer")

    def __init__(self, provider: object, tracer: Tracer | None, *, parent_decides: bool) -> None:
        self.provider = provider
        self.tracer = tracer
        self.parent_decides = parent_decides


state = Seen(object(), None, parent_decides=False)


def seen() -> Seen:
    """The provider in force: `tracer` is None where there is none or it is switched off (``OTEL_SDK_DISABLED``); `parent_decides` says that a
    child of an unsampled parent is never sampled, so that it need not be started at all.
    """
    provider = API.get(GLOBAL, UNSEEN)
    return state if provider is state.provider else look(provider)


def look(provider: object) -> Seen:
    """Learn what is to know about a provider not seen before."""
    global state  # noqa: PLW0603  the one cache of the wrapper, see the module
    if provider is UNSEEN or (provider is None and "OTEL_PYTHON_TRACER_PROVIDER" in os.environ):
        current = trace.get_tracer_provider()
        provider = None if isinstance(current, trace.ProxyTracerProvider) else current
    if provider is None:
        fresh = Seen(None, None, parent_decides=False)
    else:
        tracer = trace.get_tracer(SCOPE, tracer_provider=provider)  # type: ignore[arg-type]
        dark = isinstance(tracer, NoOpTracer)
        fresh = Seen(provider, None if dark else tracer, parent_decides=_parent_decides(tracer))
    if GLOBAL in API:
        state = fresh
    return fresh


def _parent_decides(tracer: Tracer) -> bool:
    sampling = sys.modules.get("opentelemetry.sdk.trace.sampling")
    sampler = getattr(tracer, "sampler", None)
    if sampling is None or sampler is None or type(sampler) is not sampling.ParentBased:
        return False
    description = sampler.get_description()
    return "remoteParentNotSampled:AlwaysOffSampler" in description and "localParentNotSampled:AlwaysOffSampler" in description


def has_provider() -> bool:
    return seen().provider is not None

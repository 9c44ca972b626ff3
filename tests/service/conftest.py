import numpy as np
import pytest

from headwater.model.spans import SpanBatch, SpanTable, WireRows
from headwater.simulate.pipelines import chain
from headwater.store.span_store import SpanStore


def batch_of(spans: SpanTable) -> SpanBatch:
    n = len(spans)
    wire = WireRows(
        span=tuple(b"%d" % i for i in range(n)),
        resource_codes=np.zeros(n, np.int32),
        resource_values=(b"r",),
        scope_codes=np.zeros(n, np.int32),
        scope_values=(b"s",),
    )
    return SpanBatch(spans=spans, wire=wire, rejected={})


@pytest.fixture(scope="session")
def simulated():
    """400 runs of vad, asr, nlu; asr faulty, with a version of its own, in the second half."""
    return chain(np.random.default_rng(7), n_traces=400, fault="asr")


@pytest.fixture(scope="session")
def reader(simulated, tmp_path_factory):
    store = SpanStore(tmp_path_factory.mktemp("store"), writer=True)
    store.append([batch_of(simulated.spans)])
    yield store
    store.close()

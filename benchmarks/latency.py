"""Spans a second of assembly, partition and the report on simulated spans, with DuckDB's window-function self time on the same spans in the same run.

    .venv/bin/python benchmarks/latency.py [--spans 1000000] [--repeats 5]

Prints one line a step: the best and the median of the repeats, in CPU seconds of this process and in spans per CPU second. Input is shuffled 64-bit
ids in memory, the same columns for both. What is unequal: DuckDB computes only each span's self time (a window function over the children of each
parent, exact for children inside their parent) and its sum by stage; headwater checks and repairs traces, finds who blocked whom, cuts every horizon
and sums by component. Both run on one thread.
"""

import argparse
import time

import duckdb
import numpy as np

from headwater.analysis.blocking import waiting
from headwater.analysis.critical_path import partition
from headwater.analysis.forest import children_kernel, clip_kernel
from headwater.analysis.latency import report
from headwater.model.latency import LatencyInput
from headwater.model.spans import SpanTable
from headwater.simulate.latency import Change, speech_runs
from headwater.traces.assemble import assemble
from headwater.traces.pipeline import graph

SELF_TIME = """
WITH child AS (
  SELECT hi, lo, parent, greatest(start_ns, coalesce(max(end_ns) OVER earlier, start_ns)) AS begin_ns, end_ns
  FROM spans WHERE parent <> 0
  WINDOW earlier AS (PARTITION BY hi, lo, parent ORDER BY start_ns, end_ns ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
), covered AS (
  SELECT hi, lo, parent, sum(greatest(end_ns - begin_ns, 0)) AS covered_ns FROM child GROUP BY ALL
)
SELECT s.stage, sum(s.end_ns - s.start_ns - coalesce(c.covered_ns, 0)) AS self_ns
FROM spans s LEFT JOIN covered c ON s.hi = c.hi AND s.lo = c.lo AND s.span = c.parent
GROUP BY s.stage ORDER BY s.stage
"""


def timed(step, repeats):
    """(last result, CPU seconds of each repeat)."""
    seconds, result = [], None
    for _ in range(repeats):
        begun = time.process_time()
        result = step()
        seconds.append(time.process_time() - begun)
    return result, seconds


def line(name, seconds, n_spans):
    best, median = min(seconds), float(np.median(seconds))
    print(f"{name:38s} best {best:7.3f} s   median {median:7.3f} s   {n_spans / median / 1e6:7.2f} M spans per CPU second")
    return median


def shuffled(spans: SpanTable, rng: np.random.Generator) -> SpanTable:
    """The same spans under random 64-bit ids, in random order, as a collector sends them."""
    high = rng.integers(1, 2**63, int(spans.trace_id[:, 1].max()) + 1).astype(np.uint64)
    width = 5
    fresh = rng.integers(1, 2**63, len(spans)).astype(np.uint64)
    parent = np.repeat(fresh[::width], width)
    parent[::width] = 0
    trace = np.stack([high[spans.trace_id[:, 1].astype(np.int64)], spans.trace_id[:, 1]], axis=1)
    columns = {name: getattr(spans, name) for name in ("start_ns", "end_ns", "kind", "name", "stage", "service", "pipeline", "weight", "numbers")}
    return SpanTable.build(trace_id=trace, span_id=fresh, parent_id=parent, **columns).take(rng.permutation(len(spans)))


def duckdb_self_time(spans: SpanTable):
    """Connection with the spans loaded as a table of plain columns; loading is not timed."""
    connection = duckdb.connect()
    connection.execute("SET threads = 1")
    columns = {
        "hi": spans.trace_id[:, 0].copy(),
        "lo": spans.trace_id[:, 1].copy(),
        "span": spans.span_id,
        "parent": spans.parent_id,
        "start_ns": spans.start_ns,
        "end_ns": spans.end_ns,
        "stage": spans.stage.codes,
    }
    connection.register("given", columns)
    connection.execute("CREATE TABLE spans AS SELECT * FROM given")
    return connection


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--spans", type=int, default=1_000_000)
    options.add_argument("--repeats", type=int, default=5)
    given = options.parse_args()
    rng = np.random.default_rng(1)
    spans = shuffled(speech_runs(rng, n_runs=given.spans // 5), rng)
    small = assemble(speech_runs(rng, n_runs=10))
    partition(small)  # compile, or load what was compiled
    graph(small)
    n = len(spans)
    print(f"{n} spans in {n // 5} traces, {given.repeats} repeats, one process")
    traces, assembling = timed(lambda: assemble(spans), given.repeats)
    ours = line("assemble", assembling, n)
    cut, cutting = timed(lambda: partition(traces), given.repeats)
    ours += line("partition", cutting, n)
    totals, summing = timed(lambda: np.bincount(cut.component, weights=cut.end_ns - cut.start_ns), given.repeats)
    ours += line("stage totals", summing, n)
    line("graph", timed(lambda: graph(traces), given.repeats)[1], n)
    kernel_lines(traces, cut, n)
    one = LatencyInput(traces=traces, partition=cut)
    line("report, one window, 200 replicates", timed(lambda: report(one, pipeline="speech", rng=np.random.default_rng(2)), 1)[1], n)
    slower = assemble(speech_runs(rng, n_runs=n // 10, change=Change(slower=(("vad", 1.3),))))
    other = LatencyInput(traces=slower, partition=partition(slower))
    both = timed(lambda: report(other, pipeline="speech", baseline=one, rng=np.random.default_rng(2)), 1)[1]
    line("report against a baseline", both, n + len(slower.spans))
    connection = duckdb_self_time(spans)
    rows, querying = timed(lambda: connection.execute(SELF_TIME).fetchall(), given.repeats)
    theirs = line("DuckDB self time by stage", querying, n)
    print(f"DuckDB's self-time query takes {theirs / ours:.2f} times what ids-to-stage-totals takes here (above 1: headwater is faster)")
    agree(rows, traces, cut, totals)


def kernel_lines(traces, cut, n):
    """Bytes a span that the walk reads and writes."""
    wait = waiting(traces)
    low, high, top = clip_kernel(traces.parent, wait.blocks, traces.spans.start_ns, traces.spans.end_ns)
    offset, child = children_kernel(traces.parent, wait.blocks, low, high)
    read = sum(array.nbytes for array in (traces.parent, low, high, top, offset, child, wait.blocks))
    written = sum(array.nbytes for array in (cut.trace, cut.component, cut.row, cut.start_ns, cut.end_ns, cut.flags))
    pieces = cut.trace.size / n
    print(f"kernel arrays: {read / n:.1f} bytes a span read, {written / n:.1f} bytes a span written ({pieces:.2f} segments a span)")


def agree(rows, traces, cut, totals):
    """Both found the same self time of every stage, and here (a chain) it is the time on the path."""
    for code, self_ns in rows:
        if code < 0:
            continue
        name = f"self:{traces.spans.stage.values[code]}"
        found = int(totals[cut.components.index(name)])
        if found != int(self_ns):
            raise SystemExit(f"{name}: {found} here, {self_ns} by DuckDB")
    print("stage totals agree to the nanosecond")


if __name__ == "__main__":
    main()

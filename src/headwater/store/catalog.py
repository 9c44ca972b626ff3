"""Questions to the trace index, in SQL: an in-memory DuckDB over the index files of the segments and the rows still in memory.

DuckDB never owns a file here: opened for writing it would shut every second process out. It may touch the segment directory and nothing else, its
configuration is locked, and every value is bound.
"""

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

UNKNOWN: Final = "unknown_service"

# One row a trace, parts merged. The pipeline is that of the earliest span naming one (ties by name), else the service, else what OpenTelemetry calls
# a service without a name; a trace of outcomes alone has none.
_TRACES: Final = f"""
    SELECT hi, lo, min(first_start) AS first_start, max(last_start) AS last_start, sum(n_spans)::BIGINT AS n_spans, sum(outcomes)::BIGINT AS outcomes,
           CASE WHEN bool_and(only_outcomes) THEN NULL ELSE coalesce(
               (min({{'at': pipeline_start, 'name': pipeline}}) FILTER (WHERE pipeline IS NOT NULL)).name,
               (min({{'at': service_start, 'name': service}}) FILTER (WHERE service IS NOT NULL)).name,
               '{UNKNOWN}') END AS pipeline
    FROM every GROUP BY hi, lo
"""  # noqa: S608
_CHOSEN: Final = """
    SELECT hi, lo, first_start, last_start FROM traces
    WHERE (pipeline = $pipeline OR $pipeline IS NULL) AND first_start >= $start AND first_start < $stop ORDER BY hi, lo
"""
_ONE: Final = "SELECT hi, lo, min(first_start) AS first_start, max(last_start) AS last_start FROM every WHERE hi = $hi AND lo = $lo GROUP BY hi, lo"
_OUTCOMES: Final = """
    , outcome AS (SELECT hi, lo, runs, targets FROM every WHERE outcomes > 0),
    run AS (SELECT DISTINCT unnest(runs) AS run FROM every SEMI JOIN chosen USING (hi, lo)),
    target AS (SELECT hi, lo, unnest(targets) AS t FROM outcome),
    named AS (SELECT hi, lo, unnest(runs) AS run FROM outcome)
    SELECT target.hi AS hi, target.lo AS lo FROM target JOIN chosen ON target.t.hi = chosen.hi AND target.t.lo = chosen.lo
    UNION SELECT hi, lo FROM named SEMI JOIN run USING (run)
"""
_SUMMARIES: Final = """
    SELECT pipeline, count(*) AS n_traces, sum(n_spans)::BIGINT AS n_spans, min(first_start) AS first_start, max(first_start) AS last_start
    FROM traces WHERE pipeline IS NOT NULL GROUP BY pipeline ORDER BY pipeline
"""
_STAGES: Final = """
    , each_stage AS (SELECT hi, lo, unnest(stages) AS s FROM every)
    SELECT pipeline, s.stage AS stage, min(s.start) AS start FROM each_stage JOIN traces USING (hi, lo)
    WHERE pipeline IS NOT NULL GROUP BY pipeline, s.stage ORDER BY pipeline, start, stage
"""
_N_OUTCOMES: Final = """
    , outcome AS (SELECT hi, lo, outcomes, runs, targets FROM every WHERE outcomes > 0),
    target AS (SELECT hi, lo, outcomes, unnest(targets) AS t FROM outcome),
    named AS (SELECT hi, lo, outcomes, unnest(runs) AS run FROM outcome),
    owned AS (SELECT hi, lo, pipeline FROM traces WHERE pipeline IS NOT NULL),
    run AS (SELECT DISTINCT owned.pipeline AS pipeline, unnest(every.runs) AS run FROM every JOIN owned USING (hi, lo)),
    joined AS (
        SELECT owned.pipeline AS pipeline, target.hi AS hi, target.lo AS lo, target.outcomes AS outcomes
        FROM target JOIN owned ON target.t.hi = owned.hi AND target.t.lo = owned.lo
        UNION SELECT run.pipeline, named.hi, named.lo, named.outcomes FROM named JOIN run USING (run))
    SELECT pipeline, sum(outcomes)::BIGINT AS n FROM joined GROUP BY pipeline
"""


class Catalog:
    """Thread-safe: every call has its own cursor. Raises FileNotFoundError if a segment was merged away meanwhile (reload the manifest)."""

    def __init__(self, directory: Path, *, threads: int = 2, memory: str = "2GB") -> None:
        self._connection = duckdb.connect(":memory:")
        for setting, value in (("allowed_directories", [str(directory.resolve())]), ("threads", threads), ("memory_limit", memory)):
            self._connection.execute(f"SET {setting} = ?", [value])
        self._connection.execute("SET enable_external_access = false")
        self._connection.execute("SET lock_configuration = true")
        self._lock = threading.Lock()

    def close(self) -> None:
        self._connection.close()

    def query(self, sql: str, *, files: Sequence[Path] = (), tables: dict[str, pa.Table] | None = None, **values: Any) -> pa.Table:
        """Rows of `sql`, in which ``$files`` is bound to `files` and `tables` are visible by their names."""
        with self._lock:
            cursor = self._connection.cursor()
        try:
            for name, table in (tables or {}).items():
                cursor.register(name, table)
            bound = {key: value for key, value in {**values, "files": [str(path) for path in files]}.items() if f"${key}" in sql}
            return cursor.sql(sql, params=bound).to_arrow_table()
        except duckdb.IOException as error:
            if any(not path.exists() for path in files):
                raise FileNotFoundError(str(error)) from error
            raise
        finally:
            cursor.close()


class TraceIndex:
    """The index as of one moment: `files` of the segments and `memory`, rows of `index.SCHEMA` not yet in any of them."""

    def __init__(self, catalog: Catalog, files: Sequence[Path], memory: pa.Table) -> None:
        self._catalog = catalog
        self._files = files
        self._tables = {"memory_index": memory}

    def _ask(self, sql: str, *, chosen: pa.Table | None = None, **values: Any) -> pa.Table:
        parts = "SELECT * FROM memory_index"
        if self._files:
            parts = f"SELECT * FROM read_parquet($files) UNION ALL BY NAME {parts}"  # noqa: S608  nothing but names of ours
        text = f"WITH every AS ({parts}), traces AS ({_TRACES}) {sql}"
        tables = self._tables if chosen is None else {**self._tables, "chosen": chosen}
        return self._catalog.query(text, files=self._files, tables=tables, **values)

    def chosen(self, pipeline: str | None, start_ns: int, stop_ns: int) -> pa.Table:
        """Traces (hi, lo, first_start, last_start) whose earliest span starts in [start_ns, stop_ns); None = all, and traces of outcomes."""
        return self._ask(_CHOSEN, pipeline=pipeline, start=start_ns, stop=stop_ns)

    def one(self, hi: int, lo: int) -> pa.Table:
        """The same columns for one trace; no row if it is not here."""
        return self._ask(_ONE, hi=hi, lo=lo)

    def outcomes_of(self, chosen: pa.Table) -> pa.Table:
        """hi, lo of the traces that hold an outcome for a chosen trace, by link or by run id. May hold other outcomes too."""
        return self._ask(_OUTCOMES, chosen=chosen)

    def summaries(self) -> list[dict[str, Any]]:
        """By pipeline: pipeline, n_traces, n_spans, first_start, last_start, stages, n_outcomes."""
        rows: list[dict[str, Any]] = self._ask(_SUMMARIES).to_pylist()
        stages: dict[str, list[str]] = {}
        for row in self._ask(_STAGES).to_pylist():
            stages.setdefault(row["pipeline"], []).append(row["stage"])
        outcomes = {row["pipeline"]: row["n"] for row in self._ask(_N_OUTCOMES).to_pylist()}
        return [{**row, "stages": tuple(stages.get(row["pipeline"], ())), "n_outcomes": outcomes.get(row["pipeline"], 0)} for row in rows]

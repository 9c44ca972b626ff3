"""What the HTTP face asks of the service."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from headwater.model.answers import Health, OutcomeRow, OverviewAnswer, Query, TraceAnswer, TraceRow
from headwater.model.blame import ErrorReport
from headwater.model.latency import LatencyReport
from headwater.model.pipeline import PipelineGraph
from headwater.model.ports import PipelineSummary


class Answers(Protocol):
    """Every question a page or a REST route may ask. Called from several threads at once.

    Methods raise `HeadwaterError`: UnknownPipelineError, UnknownTraceError, UsageError (a time or filter that cannot be read),
    EmptyStoreError, NoOutcomesError, TooLittleDataError.
    """

    def pipelines(self) -> tuple[PipelineSummary, ...]:
        """One summary a pipeline, by name; empty, not an error, while the store is."""

    def query(
        self,
        *,
        pipeline: str | None = None,
        since: str | None = None,
        until: str | None = None,
        baseline_since: str | None = None,
        baseline_until: str | None = None,
        baseline: str | None = None,
        outcome: str | None = None,
        cluster: str | None = None,
        where: Sequence[str] = (),
    ) -> Query:
        """Texts as a person types them: instants ISO 8601 or an age ("1h", "2d"); baseline "previous"; where "key=value".

        pipeline None = the only one there is (UsageError that names them all if there are several, EmptyStoreError if none).
        """

    def overview(self, query: Query) -> OverviewAnswer: ...

    def graph(self, query: Query) -> PipelineGraph: ...

    def latency(self, query: Query) -> LatencyReport: ...

    def errors(self, query: Query) -> ErrorReport: ...

    def trace(self, trace_id: str) -> TraceAnswer:
        """trace_id: up to 32 hex digits, as given in the URL (UsageError if it is not that)."""

    def recent(self, query: Query, limit: int) -> Sequence[TraceRow]:
        """The newest traces of the window first, at most `limit`."""

    def health(self) -> Health:
        """Cheap: asked for by every page (lag is always on screen)."""

    def add_outcomes(self, rows: Sequence[OutcomeRow]) -> Mapping[str, int]:
        """Takes judged outcomes durably; counts by what became of them, e.g. {"received": 3, "accepted": 3}."""

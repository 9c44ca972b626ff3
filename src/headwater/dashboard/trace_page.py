"""The trace page: waterfall with the critical path, blame that adds up to the loss, time that adds up to the duration."""

from typing import Final

from headwater.conventions.attributes import CONFIDENCE
from headwater.dashboard.links import outside
from headwater.dashboard.pages import View, render
from headwater.dashboard.plots.scale import blame_class
from headwater.dashboard.plots.waterfall import delta_bar, share_bar, span_bar
from headwater.report.numbers import Document
from headwater.report.tree import Row, tree_rows
from headwater.report.units import digits, duration, percent
from headwater.report.waterfall_text import banners

ROWS_DRAWN: Final = 800
_DEEPEST: Final = 8
_TICKS: Final = 4
LISTED: Final = 60
"""Rows of the two tables under the waterfall; what is left out is counted and summed."""


def trace_page(document: Document, view: View) -> str:
    """The page of a trace document. More than ROWS_DRAWN spans are cut with a note; the JSON twin has them all."""
    rows = tree_rows(document)
    blame, other_blame = _listed_blame(document["blame"])
    headline, support = _said(document)
    ticks = ["0", *(duration(document["duration_ns"] * step / _TICKS) for step in range(1, _TICKS + 1))]
    total = max(1, document["duration_ns"])
    slowest = sorted(document["components"], key=lambda row: -row["time_ns"])
    components = [{**row, "share": row["time_ns"] / total, "bar": share_bar(row["time_ns"] / total, None, "series-fill")} for row in slowest[:LISTED]]
    return render(
        "trace.html",
        view,
        active="trace",
        document=document,
        headline=headline,
        support=support,
        jaeger=outside(document["jaeger_url"]),
        banners=banners(document),
        ticks=ticks,
        rows=[_row(row, document) for row in rows[:ROWS_DRAWN]],
        hidden=max(0, len(rows) - ROWS_DRAWN),
        blame=blame,
        other_blame=other_blame,
        bars=None if blame is None else _bars(blame),
        components=components,
        other_components=(len(slowest) - len(components), sum(row["time_ns"] for row in slowest[LISTED:])),
    )


def _listed_blame(blame: Document | None) -> tuple[Document | None, tuple[int, float]]:
    """The blame with at most LISTED stages, those with the largest own part kept in order; and how many are left out, with their sum."""
    if blame is None or len(blame["stages"]) <= LISTED:
        return blame, (0, 0.0)
    largest = sorted(range(len(blame["stages"])), key=lambda place: -abs(blame["stages"][place]["own"] or 0.0))
    kept, rest = sorted(largest[:LISTED]), largest[LISTED:]
    return {**blame, "stages": [blame["stages"][place] for place in kept]}, (len(rest), sum(blame["stages"][place]["own"] or 0.0 for place in rest))


def _said(document: Document) -> tuple[str, str]:
    took = f"{duration(document['duration_ns'])} from first to last span of the request"
    blame = document["blame"]
    most = max(document["components"], key=lambda row: row["time_ns"], default=None)
    mostly = (
        ""
        if most is None
        else f", {percent(most['time_ns'] / max(1, document['duration_ns']), 0)} of it in {most['component'].removeprefix('self:')}"
    )
    if blame is None or blame["loss"] is None:
        return f"{took}{mostly}.", document["blame_missing"] or ""
    if blame["loss"] <= 0:
        return f"This run went right ({blame['outcome']} {digits(blame['loss'])}).", f"{took}{mostly}."
    share = next((row["share"] for row in blame["stages"] if row["stage"] == blame["introduced_by"]), None)
    who = f"{blame['introduced_by']} introduced it" if blame["introduced_by"] else "no stage shows a fault of its own"
    sure = "" if share is None else f", {percent(share, 0)} of the failure"
    return (
        f"This run failed: {who}{sure}.",
        f"{took}{mostly}. Loss {digits(blame['loss'])} where {digits(blame['baseline'])} was expected; {blame['verdict']}.",
    )


def _row(row: Row, document: Document) -> Document:
    return {
        "span": row.span,
        "depth": min(row.depth, _DEEPEST),
        "label": row.span["stage"] or row.span["name"] or "unnamed",
        "on_path": bool(row.path),
        "bar": span_bar(row, document),
        "confidence": row.span["attributes"].get(CONFIDENCE.name),
        "share": row.share,
        "blame_class": blame_class(row.share, None),
        "jaeger": outside(document["jaeger_url"], span_id=row.span["span_id"]),
    }


def _bars(blame: Document) -> Document:
    parts = [blame["input"], blame["residual"], *(row["own"] for row in blame["stages"])]
    widest = max((abs(part) for part in parts if part is not None), default=0.0)

    def bar(part: float | None, *, flagged: bool = False) -> str:
        return delta_bar(part, None, widest=widest, flagged=flagged)

    stages = [bar(row["own"], flagged=row["stage"] == blame["introduced_by"]) for row in blame["stages"]]
    return {"input": bar(blame["input"]), "residual": bar(blame["residual"]), "stages": stages}

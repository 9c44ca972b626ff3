"""Documents → pages. Every function takes documents and a `View` (links, what stands in the header) and returns HTML."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from headwater.dashboard.environment import environment
from headwater.dashboard.links import Links
from headwater.dashboard.plots.dag import pipeline_dag
from headwater.dashboard.plots.flow import data_flow
from headwater.dashboard.plots.histogram import component_latency
from headwater.dashboard.plots.scale import blame_class
from headwater.dashboard.plots.scatter import error_latency
from headwater.dashboard.plots.waterfall import delta_bar, share_bar
from headwater.report.loss import LossFormat
from headwater.report.numbers import Document
from headwater.report.units import UNKNOWN, age, count, digits, duration, duration_interval, percent, percent_interval

_SENTENCE_END: Final = re.compile(r"(?<=[a-z\])])\. (?=[A-Z0-9p])")
_INTERVAL: Final = re.compile(r"\[(\S+), (\S+)\]")
FIRST_STEPS: Final = (
    ("Run the service and point an OpenTelemetry exporter at it:", "headwater serve"),
    ("Wrap a stage:", '@hw.stage("asr", version="2026.3")'),
    ("Or read a file that the Collector wrote:", "headwater ingest traces.jsonl"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """What every page shows beside its answer: links that keep the state, the pipelines to pick from, ingest figures (None = not known)."""

    links: Links = field(default_factory=Links)
    pipelines: Sequence[Document] = ()
    pipeline: str | None = None
    health: Document | None = None


def render(template: str, view: View, *, active: str, **values: Any) -> str:
    names = {"links": view.links, "pipelines": view.pipelines, "pipeline": view.pipeline, "health": view.health, "active": active}
    return environment().get_template(template).render(**names, **values)


def overview_page(document: Document, view: View) -> str:
    """The overview of an overview document."""
    return render("overview.html", view, active="overview", **overview_values(document, view.links, path="/"))


def pipeline_page(document: Document, view: View) -> str:
    """The graph page of a pipeline document (an overview document with `traces`, the newest runs)."""
    return render("pipeline.html", view, active="pipeline", **overview_values(document, view.links, path="/"))


def overview_values(document: Document, links: Links, *, path: str) -> Document:
    """Everything the overview's templates name."""
    headline, support = split_sentence(document["sentence"])
    errors, latency = document["errors"], document["latency"]
    warnings = [*(errors["warnings"] if errors else ()), *latency["warnings"]]
    return {
        "document": document,
        "errors": errors,
        "latency": latency,
        "changes": None if errors is None else errors["comparison"],
        "loss": None if errors is None else LossFormat(errors),
        "headline": headline,
        "support": support,
        "path": path,
        "tiles": tiles(document),
        "plots": {
            "latency": component_latency(document, links),
            "scatter": error_latency(document, links),
            "flow": data_flow(document, links),
            "dag": pipeline_dag(document, links),
        },
        "stage_rows": stage_rows(document),
        "input_bar": share_bar(errors["input_share"], None, "neutral") if errors else "",
        "unexplained_bar": share_bar(errors["unexplained_share"], None, "neutral") if errors else "",
        "all_warnings": [row for place, row in enumerate(warnings) if row not in warnings[:place]],
    }


def split_sentence(sentence: str) -> tuple[str, str]:
    """(what stands large, what stands under it): the first sentence and the rest."""
    parts = _SENTENCE_END.split(_INTERVAL.sub("[\\1,\u00a0\\2]", sentence), maxsplit=1)
    return (f"{parts[0]}.", parts[1]) if len(parts) == 2 else (parts[0], "")


def tiles(document: Document) -> list[Document]:
    """The four key figures, each with what it is compared with."""
    errors, latency = document["errors"], document["latency"]
    runs = {
        "name": "Runs",
        "value": count(latency["n_traces"]),
        "detail": f"{count(errors['n_labelled'])} labelled" if errors else "none labelled",
        "tone": "",
    }
    return [_error_tile(errors), _blame_tile(errors), _latency_tile(latency), runs]


def _error_tile(errors: Document | None) -> Document:
    if errors is None or errors["mean_loss"] is None:
        return {"name": "Final errors", "value": UNKNOWN, "detail": "no outcomes yet", "tone": ""}
    loss = LossFormat(errors)
    change = errors["comparison"]
    interval = loss.ends(errors["interval"])
    detail = f"{interval}, was {loss.level(change['baseline_loss'])}{loss.unit}" if change else f"{interval}, no baseline"
    tone = "worse" if change and any(row["flagged"] and row["own_delta"] > 0 for row in change["stages"]) else ""
    return {
        "name": "Final errors" if loss.rate else loss.name,
        "value": f"{loss.level(errors['mean_loss'])}{loss.unit}",
        "detail": detail,
        "tone": tone,
    }


def _blame_tile(errors: Document | None) -> Document:
    known = [] if errors is None else [row for row in errors["stages"] if row["blame_share"] is not None and row["verdict"] != "not identifiable"]
    if not known:
        return {"name": "Most blame", "value": UNKNOWN, "detail": "not identifiable", "tone": ""}
    worst = max(known, key=lambda row: row["blame_share"])
    interval = percent_interval(worst["blame_interval"], 0)
    return {"name": "Most blame", "value": worst["stage"], "detail": f"{percent(worst['blame_share'], 0)} {interval}, {worst['verdict']}", "tone": ""}


def _latency_tile(latency: Document) -> Document:
    name = "p95 latency"
    change = next((row for row in (latency["comparison"] or {}).get("statistics", ()) if row["statistic"] == "p95"), None)
    if change is not None:
        worse = any(row["flagged"] and (row["own_ns"] or 0) > 0 for row in change["components"])
        detail = f"was {duration(change['baseline_ns'])}, {duration(change['delta_ns'], sign=True)}"
        return {"name": name, "value": duration(change["current_ns"]), "detail": detail, "tone": "worse" if worse else ""}
    level = next((row for row in latency["statistics"] if row["statistic"] == "p95"), None)
    if level is None:
        return {"name": name, "value": UNKNOWN, "detail": "too few runs", "tone": ""}
    return {"name": name, "value": duration(level["value_ns"]), "detail": f"{duration_interval(level['interval_ns'])}, no baseline", "tone": ""}


def stage_rows(document: Document) -> list[Document]:
    """A row a stage in graph order: latency figures, blame, change, and their bars."""
    errors = document["errors"]
    blamed = {} if errors is None else {row["stage"]: row for row in errors["stages"]}
    changes = {} if errors is None or errors["comparison"] is None else {row["stage"]: row for row in errors["comparison"]["stages"]}
    bounds = [abs(end) for row in changes.values() for end in (row["own_delta"], *(row["interval"] or ())) if end is not None]
    order = {row["stage"]: place for place, row in enumerate(document["graph"]["stages"])}
    rows = []
    for row in sorted(document["latency"]["stages"], key=lambda row: order.get(row["stage"], len(order))):
        blame, change = blamed.get(row["stage"]), changes.get(row["stage"])
        known = blame is not None and blame["verdict"] != "not identifiable"
        rows.append(
            {
                **row,
                "blame": blame,
                "change": change,
                "share_bar": share_bar(blame["blame_share"], blame["blame_interval"], blame_class(blame["blame_share"], blame["verdict"]))
                if known and blame
                else "",
                "delta_bar": delta_bar(change["own_delta"], change["interval"], widest=max(bounds), flagged=change["flagged"]) if change else "",
            }
        )
    return rows


def health_page(document: Document, view: View) -> str:
    """Ingest figures of a health document."""
    rejected = sum(document["rejected"].values())
    bad = [check for check in document["checks"] if not check["ok"]]
    headline = "Spans arrive and none is lost." if document["received"] else "No span has arrived since the service started."
    if rejected or bad:
        headline = (
            f"{count(rejected)} spans rejected, {len(bad)} {'check' if len(bad) == 1 else 'checks'} failed."
            if bad
            else f"{count(rejected)} spans rejected since the service started."
        )
    lag = document["lag_ns"]
    shown = [
        ("Ingest lag", age(None if lag is None else lag / 1e9), "newest receipt after its span's end", ""),
        ("Received", count(document["received"]), f"{count(document['accepted'])} accepted", ""),
        ("Duplicates", count(document["duplicates"]), "dropped, counted", ""),
        ("Rejected", count(rejected), "by reason below", "worse" if rejected else ""),
        ("Waiting", count(document["queue"]), "in the log, not yet in a segment", ""),
        ("Disk", f"{digits(document['disk_bytes'] / 1e6)} MB", "segments and log", ""),
    ]
    figures = [dict(zip(("name", "value", "detail", "tone"), row, strict=True)) for row in shown]
    return render("health.html", view, active="health", document=document, headline=headline, tiles=figures)


def error_page(document: Document, view: View, *, title: str) -> str:
    """An error document as a page: what was found, and the next command."""
    return render("message.html", view, active="", title=title, text=document["text"], next=document["next"], steps=())


def empty_page(view: View) -> str:
    """The first page of an empty store."""
    text = (
        "This store holds no traces yet. As soon as one run of a wrapped pipeline arrives, this page shows where its time and its errors come from."
    )
    return render("message.html", view, active="overview", title="Nothing has flowed here yet", text=text, next=None, steps=FIRST_STEPS)

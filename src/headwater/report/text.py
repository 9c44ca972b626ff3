"""Documents as tables a person reads in a terminal. Strings out; nothing is printed here.

Every function takes the document (a dict, local or fetched by --url), `width` in columns and `colour` (False = plain text, no escapes). Text
that came out of a trace is shown without its control characters.
"""

from typing import Final

from rich.table import Table
from rich.text import Text

from headwater.report.clean import clean
from headwater.report.loss import LossFormat
from headwater.report.numbers import Document
from headwater.report.sentence import sentence
from headwater.report.tables import Page, cell, grid, heading, warning_lines
from headwater.report.units import (
    UNKNOWN,
    count,
    duration,
    duration_interval,
    instant,
    number,
    percent,
    percent_interval,
)
from headwater.report.waterfall_text import trace

_VERDICT_STYLE: Final = {"identified": "green", "bounded": "yellow", "not identifiable": "dim"}
_CHANGE_COLUMNS: Final = ("stage", "own", "95 %", "inherited", "q", "")
_EFFECT_STYLE: Final = {"amplify": "bold", "absorb": "green", "pass": ""}


def latency(document: Document, *, width: int = 100, colour: bool = False) -> str:
    """Statistics with their split over components, the comparison where there is one, the stages."""
    page = Page(width, colour=colour)
    page.add(
        heading(
            f"Latency of {clean(document['pipeline'])}",
            f"{count(document['n_traces'])} runs, {count(document['n_effective'])} effective · weights {document['weights']}"
            f" · {percent(document['level'], 0)} intervals",
        )
    )
    if document["comparison"] is None:
        for statistic in document["statistics"]:
            page.add(_statistic(statistic))
    else:
        for change in document["comparison"]["statistics"]:
            page.add(_latency_change(change))
    page.add(_stages(document))
    _completeness(page, document)
    page.add(*warning_lines(document["warnings"]))
    return page.text()


def _statistic(statistic: Document) -> Table:
    title = f"{statistic['statistic']}  {duration(statistic['value_ns'])}  {duration_interval(statistic['interval_ns'])}"
    table = grid(title, ("component", "spent", "95 %", "share", "on path", "drag"))
    total = statistic["value_ns"] or 0.0
    for row in sorted(statistic["components"], key=lambda row: -(row["spent_ns"] or 0)):
        share = None if row["spent_ns"] is None or not total else row["spent_ns"] / total
        table.add_row(
            cell(row["component"]),
            duration(row["spent_ns"]),
            duration_interval(row["interval_ns"]),
            percent(share, 0),
            percent(row["on_path_share"], 0),
            duration(row["drag_ns"]),
        )
    return table


def _latency_change(change: Document) -> Table:
    before, after = duration(change["baseline_ns"]), duration(change["current_ns"])
    title = f"{change['statistic']}  {before} → {after}  ({duration(change['delta_ns'], sign=True)})"
    table = grid(title, ("component", "Δ spent", "95 %", "own", "95 %", "inherited", "mix", ""))
    for row in sorted(change["components"], key=lambda row: -abs(row["own_ns"] or row["spent_delta_ns"] or 0)):
        inherited = sum(value for value in row["inherited_ns"].values() if value is not None) if row["inherited_ns"] else None
        table.add_row(
            cell(row["component"]),
            duration(row["spent_delta_ns"], sign=True),
            duration_interval(row["interval_ns"]),
            duration(row["own_ns"], sign=True),
            duration_interval(row["own_interval_ns"]),
            duration(inherited, sign=True),
            duration(row["mix_ns"], sign=True),
            _mark(row, row["own_ns"]),
        )
    return table


def _stages(document: Document) -> Table:
    table = grid("Stages", ("stage", "calls", "p50", "p95", "p99", "errors", "cpu"))
    for row in document["stages"]:
        table.add_row(
            cell(row["stage"]),
            count(row["calls"]),
            duration(row["p50_ns"]),
            duration(row["p95_ns"]),
            duration(row["p99_ns"]),
            percent(row["error_rate"]),
            duration(row["cpu_ns"]),
        )
    return table


def _completeness(page: Page, document: Document) -> None:
    wrong = {key: number for key, number in document["completeness"].items() if number}
    said = ", ".join(f"{number:,} {clean(key)}" for key, number in wrong.items()) if wrong else "nothing missing or mended"
    page.add(Text(f"Completeness: {said}.", "dim"))


def errors(document: Document, *, width: int = 100, colour: bool = False) -> str:
    """The sentence, blame per stage with intervals and verdicts, the change where there is a baseline, propagation, evidence."""
    page = Page(width, colour=colour)
    page.add(
        heading(
            f"Errors of {clean(document['pipeline'])}, outcome {clean(document['outcome'])}",
            f"{count(document['n_labelled'])} of {count(document['n_traces'])} runs labelled · mean loss {number(document['mean_loss'])}"
            f" · {document['verdict']}",
        ),
        Text(clean(document["sentence"], limit=2000), "bold"),
        _blame(document),
    )
    if document["comparison"] is not None:
        page.add(_error_change(document))
    if document["edges"]:
        page.add(_edges(document["edges"]))
    evidence = [(stage["stage"], row) for stage in document["stages"] for row in stage["evidence"]]
    if evidence:
        page.add(_evidence(evidence))
    page.add(*warning_lines(document["warnings"]))
    return page.text()


def _verdict(verdict: str) -> Text:
    return Text(verdict, _VERDICT_STYLE.get(verdict, ""))


def _blame(document: Document) -> Table:
    fixable = any(row["fixable_loss"] is not None for row in document["stages"])
    table = grid(
        "Blame for failures", ("stage", "blame", "95 %", "attributable", "95 %", *(("fixable",) if fixable else ()), "faults", "q", "verdict")
    )
    for row in sorted(document["stages"], key=lambda row: -(row["blame_share"] or 0)):
        table.add_row(
            cell(row["stage"]),
            percent(row["blame_share"]),
            percent_interval(row["blame_interval"]),
            percent(row["attributable_fraction"]),
            percent_interval(row["attributable_interval"]),
            *((number(row["fixable_loss"]),) if fixable else ()),
            count(row["n_faults"]),
            number(row["q_value"]),
            _verdict(row["verdict"]),
        )
    table.add_row(Text("input", "italic"), percent(document["input_share"]))
    table.add_row(Text("unexplained", "italic"), percent(document["unexplained_share"]))
    return table


def _error_change(document: Document) -> Table:
    change, loss = document["comparison"], LossFormat(document)
    levels = f"{loss.level(change['baseline_loss'])} → {loss.level(change['current_loss'])}{loss.unit}"
    table = grid(f"Change of {loss.name.lower()}  {levels}  ({loss.delta(change['delta'])}{loss.delta_unit})", _CHANGE_COLUMNS)
    for row in sorted(change["stages"], key=lambda row: -abs(row["own_delta"] or 0)):
        table.add_row(
            cell(row["stage"]),
            loss.delta(row["own_delta"]),
            loss.ends(row["interval"]),
            loss.delta(row["inherited_delta"]),
            number(row["q_value"]),
            _mark(row, row["own_delta"]),
        )
    table.add_row(Text("input", "italic"), loss.delta(change["input_delta"]))
    table.add_row(Text("unexplained", "italic"), loss.delta(change["unexplained_delta"]))
    return table


def _mark(row: Document, own: float | None) -> Text:
    """What a flagged row is: the origin of something worse, or a change for the better."""
    if not row["flagged"]:
        return Text("")
    return Text("◀ origin", "bold red") if (own or 0) > 0 else Text("improved", "green")


def _edges(edges: list[Document]) -> Table:
    table = grid("Propagation", ("from", "to", "faults given a fault", "else", "ratio", "gain", "effect"))
    for row in edges:
        table.add_row(
            cell(row["from"]),
            cell(row["to"]),
            percent(row["rate_given_error"]),
            percent(row["rate_baseline"]),
            number(row["risk_ratio"]),
            number(row["gain"]),
            Text(row["effect"], _EFFECT_STYLE.get(row["effect"], "")),
        )
    return table


def _evidence(evidence: list[tuple[str, Document]]) -> Table:
    table = grid("Evidence: what may accuse", ("stage", "attribute", "role", "declared", "AUC of upstream flags", "used"))
    for stage, row in evidence:
        table.add_row(
            cell(stage),
            cell(row["attribute"]),
            row["role"],
            "yes" if row["declared"] else "no",
            number(row["upstream_auc"]),
            Text("yes", "green") if row["used"] else Text("no", "dim"),
        )
    return table


def comparison(errors: Document | None, latency: Document | None, *, width: int = 100, colour: bool = False) -> str:
    """Both comparisons one under the other, with the sentence on top; says so where there is no baseline."""
    page = Page(width, colour=colour)
    page.add(Text(clean(sentence(errors, latency), limit=2000), "bold"))
    if errors is not None and errors["comparison"] is not None:
        page.add(_error_change(errors))
    if latency is not None and latency["comparison"] is not None:
        for change in latency["comparison"]["statistics"]:
            page.add(_latency_change(change))
    if not any(document is not None and document["comparison"] is not None for document in (errors, latency)):
        page.add(Text("No baseline to compare with: give --baseline previous, or --baseline-since and --baseline-until.", "yellow"))
    return page.text()


def pipelines(document: Document, *, width: int = 100, colour: bool = False) -> str:
    """One line a pipeline; the next command where there is none."""
    page = Page(width, colour=colour)
    if not document["pipelines"]:
        page.add(Text("This store is empty. Next: headwater serve, then run a wrapped pipeline; or headwater ingest FILE."))
        return page.text()
    table = grid("Pipelines", ("pipeline", "stages", "runs", "spans", "outcomes", "first", "last"))
    for row in document["pipelines"]:
        stages = Text(" → ".join(clean(stage) for stage in row["stages"]))
        first, last = instant(row["first_start_at_ns"]), instant(row["last_start_at_ns"])
        table.add_row(cell(row["pipeline"]), stages, count(row["n_traces"]), count(row["n_spans"]), count(row["n_outcomes"]), first, last)
    page.add(table)
    return page.text()


def traces(document: Document, *, width: int = 100, colour: bool = False) -> str:
    """One line a trace, in the document's order."""
    page = Page(width, colour=colour)
    table = grid(f"Runs of {clean(document['pipeline'])}", ("trace", "start", "duration", "spans", "status", "loss", ""))
    for row in document["traces"]:
        note = "partial" if row["partial"] else ""
        status = Text(row["status"], "red" if row["status"] == "error" else "")
        started, took = instant(row["start_ns"]), duration(row["duration_ns"])
        table.add_row(cell(row["trace_id"]), started, took, count(row["n_spans"]), status, number(row["loss"]), note)
    page.add(table)
    return page.text()


def graph(document: Document, *, width: int = 100, colour: bool = False) -> str:
    """Stages with their calls and where each sends its runs."""
    page = Page(width, colour=colour)
    said = "declared by links" if document["declared"] else "observed from order and parentage"
    page.add(heading(f"Graph of {clean(document['pipeline'])}", said if document["acyclic"] else f"{said} · has a cycle"))
    table = grid(None, ("stage", "calls", "goes to"))
    for row in document["stages"]:
        onward = [edge for edge in document["edges"] if edge["from"] == row["stage"]]
        targets = ", ".join(f"{clean(edge['to'])} ({count(edge['calls'])})" for edge in onward)
        table.add_row(cell(row["stage"]), count(row["calls"]), Text(targets or UNKNOWN))
    page.add(table)
    return page.text()


def doctor(document: Document, *, width: int = 100, colour: bool = False) -> str:
    """A line a check, and under a failed one the next command."""
    page = Page(width, colour=colour)
    for check in document["checks"]:
        line = Text.assemble(
            ("✓ ", "green") if check["ok"] else ("✗ ", "bold red"), (clean(check["name"]), "bold"), "  ", clean(check["text"], limit=600)
        )
        if not check["ok"] and check["next"]:
            line.append(f"\n    next: {clean(check['next'], limit=300)}", "cyan")
        page.add(line)
    page.add(
        Text("All is well." if document["ok"] else "Something is missing; each line above says what to run.", "green" if document["ok"] else "bold")
    )
    return page.text()


def error(document: Document, *, width: int = 100, colour: bool = False) -> str:
    """One sentence and the next command."""
    page = Page(width, colour=colour)
    line = Text.assemble(("headwater: ", "bold red"), clean(document["text"], limit=2000))
    if document["next"]:
        line.append(f" Next: {clean(document['next'], limit=300)}")
    page.add(line)
    return page.text()


__all__ = [
    "comparison",
    "doctor",
    "error",
    "errors",
    "graph",
    "latency",
    "pipelines",
    "sentence",
    "trace",
    "traces",
]

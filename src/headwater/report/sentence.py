"""The answer in one sentence, from the documents; what `why` prints and the overview says on top.

Never one number without baseline, n, interval, label coverage and verdict: where one of them is missing the sentence says so.
"""

from typing import Any, Final

from headwater.report.clean import clean
from headwater.report.loss import LossFormat
from headwater.report.numbers import Document
from headwater.report.units import count, digits, duration_interval, fixed, percent, percent_interval, scale_of, signed

_NAMED_SHARES: Final = 3


_CAVEATS: Final = frozenset({"no_difficulty", "labels_partial", "few_faults"})


def sentence(errors: Document | None, latency: Document | None) -> str:
    """One to three short sentences about the errors document and, where given, the latency document. Both None: says that there is nothing."""
    said = [_errors(errors)] if errors is not None else []
    if latency is not None:
        if errors is None:
            said.append(f"No outcomes for {count(latency['n_traces'])} runs, so nothing says which of them went wrong.")
        slow = _latency(latency)
        said.extend([slow] if slow else [])
    return " ".join(said) if said else "Nothing to report yet."


def _errors(errors: Document) -> str:
    if not errors["n_labelled"]:
        return f"No outcomes for {count(errors['n_traces'])} runs, so no stage can be blamed: not identifiable."
    if errors["comparison"] is not None:
        return f"{_error_change(errors, errors['comparison'])} {_coverage(errors)}"
    return f"{_error_level(errors)} {_coverage(errors)}"


def _error_change(errors: Document, change: Document) -> str:
    loss = LossFormat(errors)
    unit, points_unit = (" %", " points") if loss.rate else ("", "")
    head = (
        f"{loss.name} {loss.level(change['baseline_loss'])} → {loss.level(change['current_loss'])}{unit} ({loss.delta(change['delta'])}{points_unit})"
    )
    flagged = sorted((row for row in change["stages"] if row["flagged"]), key=lambda row: -abs(row["own_delta"] or 0))
    parts = [f"{_name(row)} own {loss.delta(row['own_delta'])} {loss.ends(row['interval'])}" for row in flagged]
    if not parts:
        parts.append("no stage's own change is clear of zero")
    if not loss.small(change["input_delta"]):
        parts.append(f"input {'harder' if change['input_delta'] > 0 else 'easier'} {loss.delta(change['input_delta'])}")
    calm = [row for row in change["stages"] if not row["flagged"]]
    rest = sum(row["own_delta"] or 0.0 for row in calm)
    if not loss.small(rest):
        parts.append(f"{'the others' if flagged else 'all stages together'} {loss.delta(rest)}, within noise")
    heirs = [_name(row) for row in calm if not loss.small(row["inherited_delta"]) and abs(row["inherited_delta"]) > abs(row["own_delta"] or 0)]
    if heirs and flagged:
        parts.append(f"{_listed(heirs)} inherited only")
    tail = f"; {loss.delta(change['unexplained_delta']).removeprefix('+')} unexplained"
    return f"{head}: {', '.join(parts)}{tail}."


def _error_level(errors: Document) -> str:
    loss = LossFormat(errors)
    head = f"{loss.name} {loss.level(errors['mean_loss'])}{loss.unit} {loss.ends(errors['interval'])}"
    if not errors["mean_loss"]:
        return f"{head}: no labelled run failed, so there is nothing to blame; no baseline to compare with."
    named = [row for row in errors["stages"] if row["verdict"] != "not identifiable" and not loss.small(row["blame_share"])]
    named.sort(key=lambda row: -row["blame_share"])
    if errors["verdict"] == "not identifiable" or not named:
        return f"{head}: no stage can be blamed{_because(errors)}; no baseline to compare with."
    parts = [f"{_name(row)} {percent(row['blame_share'], 0)} of the blame {_share_ends(row)}" for row in named[:1]]
    parts += [f"{_name(row)} {percent(row['blame_share'], 0)} {_share_ends(row)}" for row in named[1:_NAMED_SHARES]]
    if not loss.small(errors["input_share"]):
        parts.append(f"input {percent(errors['input_share'], 0)}")
    return f"{head}: {', '.join(parts)}; {percent(errors['unexplained_share'], 0)} unexplained; no baseline to compare with."


def _share_ends(row: Document) -> str:
    return "(no interval)" if row["blame_interval"] is None else percent_interval(row["blame_interval"], 0)


def _because(errors: Document) -> str:
    """The warning that stands in the way; caveats that hold for any answer come last. Cut at a clause, never inside a bracket."""
    first: dict[str, Any] | None = min(errors["warnings"], key=lambda warning: warning["code"] in _CAVEATS, default=None)
    return "" if first is None else f" ({clean(first['text'].partition(' (')[0], limit=300).rstrip('.:; ')})"


def _coverage(errors: Document) -> str:
    labelled = f"{count(errors['n_labelled'])} of {count(errors['n_traces'])} runs labelled"
    change = errors["comparison"]
    before = change.get("n_baseline_labelled") if change else None
    against = "" if before is None else f" against {count(before)} before"
    verdict = {"identified": "identified", "bounded": "only bounded, not identified", "not identifiable": "not identifiable"}[errors["verdict"]]
    return f"{labelled}{against}, {fixed(100 * errors['level'], 0)} % intervals; {verdict}."


def _latency(latency: Document) -> str | None:
    if latency["comparison"] is not None:
        return _latency_change(latency["comparison"])
    tail = next((row for row in latency["statistics"] if row["statistic"] == "p95"), None)
    if tail is None or tail["value_ns"] is None:
        return None
    factor, unit = scale_of(tail["value_ns"])
    known = [row for row in tail["components"] if row["spent_ns"]]
    most = max(known, key=lambda row: row["spent_ns"], default=None)
    mostly = "" if most is None else f", {digits(most['spent_ns'] / factor)} {unit} of it in {_component(most['component'])}"
    return f"p95 latency {digits(tail['value_ns'] / factor)} {unit} {duration_interval(tail['interval_ns']) or '(no interval)'}{mostly}."


def _latency_change(comparison: Document) -> str | None:
    tail = next((row for row in comparison["statistics"] if row["statistic"] == "p95"), None)
    if tail is None or None in (tail["baseline_ns"], tail["current_ns"], tail["delta_ns"]):
        return None
    factor, unit = scale_of(min(tail["baseline_ns"], tail["current_ns"]))

    def in_unit(value: float | None) -> str:
        return "unknown" if value is None else digits(value / factor)

    head = f"p95 latency {in_unit(tail['baseline_ns'])} → {in_unit(tail['current_ns'])} {unit} ({signed(tail['delta_ns'] / factor)})"
    flagged = sorted((row for row in tail["components"] if row["flagged"] and row["own_ns"] is not None), key=lambda row: -abs(row["own_ns"]))
    if not flagged:
        return f"{head}: {_no_cause(tail['components'], factor, unit)}."
    parts = []
    for row in flagged[:_NAMED_SHARES]:
        ends = row["own_interval_ns"]
        bounds = "(no interval)" if ends is None else f"[{in_unit(ends[0])}, {in_unit(ends[1])}]"
        parts.append(f"{_component(row['component'])} own {signed(row['own_ns'] / factor)} {bounds}")
    return f"{head}: {', '.join(parts)}."


def _no_cause(components: list[Document], factor: float, unit: str) -> str:
    """Why no component is named: its own change is within noise, or nobody can tell own from inherited without sizes; then what was spent where."""
    unknown = [row for row in components if row["own_ns"] is None and row["spent_delta_ns"]]
    most = max(unknown, key=lambda row: abs(row["spent_delta_ns"]), default=None)
    if most is None:
        return "no component's own change is clear of zero"
    ends = most["interval_ns"]
    bounds = "" if ends is None else f" [{digits(ends[0] / factor)}, {digits(ends[1] / factor)}]"
    spent = f"{_component(most['component'])} spent {signed(most['spent_delta_ns'] / factor)} {unit}{bounds}"
    return f"{spent}, own or inherited not identifiable without sizes (input_size=, output_size=)"


def _name(row: Document) -> str:
    return clean(str(row["stage"]), limit=60)


def _component(name: str) -> str:
    return clean(name, limit=80).removeprefix("self:")


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

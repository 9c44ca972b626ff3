"""The pipeline as a graph: blame with its interval in every node, amplify or absorb on every edge."""

from typing import Final

from markupsafe import Markup

from headwater.dashboard import svg
from headwater.dashboard.links import Links
from headwater.dashboard.plots.layout import Layout, Waypoint, layout
from headwater.dashboard.plots.scale import blame_class
from headwater.report.numbers import Document
from headwater.report.units import count, digits, duration, percent, percent_interval

_NODE: Final = (184.0, 104.0)
_STEP: Final = (276.0, 134.0)
_PAD: Final = 18.0
_LOOP: Final = 46.0
MOST_STAGES: Final = 150
"""Beyond this nobody reads a drawing; the table under it has every stage."""


def pipeline_dag(document: Document, links: Links) -> Markup | None:
    """The graph of an overview or pipeline document; None for a graph without stages or with more than MOST_STAGES."""
    graph = document["graph"]
    stages = [row["stage"] for row in graph["stages"]]
    if not stages or len(stages) > MOST_STAGES:
        return None
    index = {stage: place for place, stage in enumerate(stages)}
    plan = layout(len(stages), [(index[edge["from"]], index[edge["to"]]) for edge in graph["edges"]])
    errors = document["errors"]
    effects = {} if errors is None else {(row["from"], row["to"]): row for row in errors["edges"]}
    most = max([edge["calls"] for edge in graph["edges"]], default=1) or 1
    paths = [
        _edge(edge, plan, (index[edge["from"]], index[edge["to"]]), effect=effects.get((edge["from"], edge["to"])), weight=edge["calls"] / most)
        for edge in graph["edges"]
        if edge["from"] != edge["to"]
    ]
    nodes = [_node(row, document, _corner(plan.place[index[row["stage"]]], plan), links) for row in graph["stages"]]
    width = 2 * _PAD + _STEP[0] * (plan.layers - 1) + _NODE[0]
    height = 2 * _PAD + _STEP[1] * (plan.widest - 1) + _NODE[1] + (_LOOP if plan.backward else 0)
    words = ("Pipeline graph", f"{len(stages)} stages and {len(graph['edges'])} edges. {_described(document)}")
    arrow = svg.el("path", d="M0 0L8 4L0 8Z", class_="arrow")
    marker = svg.el(
        "marker", arrow, id="arrow", viewBox="0 0 8 8", refX=7, refY=4, markerWidth=9, markerHeight=9, markerUnits="userSpaceOnUse", orient="auto"
    )
    drawing = svg.figure("pipeline-graph", size=(width, height), words=words, children=[svg.el("defs", marker), *paths, *nodes])
    return Markup(str(drawing).replace("<svg", f'<svg width="{width:.0f}" height="{height:.0f}"', 1))  # noqa: S704 - numbers only


def _described(document: Document) -> str:
    errors = document["errors"]
    if errors is None:
        return "No blame: no outcomes."
    return " ".join(f"{row['stage']}: {percent(row['blame_share'], 0)} of the blame, {row['verdict']}." for row in errors["stages"])


def _corner(place: Waypoint, plan: Layout) -> tuple[float, float]:
    """Top left of a node; layers that are shorter than the widest are centred."""
    layer, spot = place
    size = 1 + max(other for (at, other) in [*plan.place.values(), *(point for route in plan.routes.values() for point in route)] if at == layer)
    return _PAD + layer * _STEP[0], _PAD + (plan.widest - size) * _STEP[1] / 2 + spot * _STEP[1]


def _edge(edge: Document, plan: Layout, pair: tuple[int, int], *, effect: Document | None, weight: float) -> Markup:
    points = [_corner(place, plan) for place in plan.routes[pair]]
    middle = _NODE[1] / 2
    if pair in plan.backward:
        path, label = _backward_path(points)
    else:
        x, y = points[0][0] + _NODE[0], points[0][1] + middle
        path = f"M{svg.number(x)} {svg.number(y)}"
        for point in points[1:]:
            to_x, to_y = point[0] - 2, point[1] + middle
            bend = (x + to_x) / 2
            path += f"C{svg.number(bend)} {svg.number(y)} {svg.number(bend)} {svg.number(to_y)} {svg.number(to_x)} {svg.number(to_y)}"
            x, y = to_x + _NODE[0], to_y
            if point is not points[-1]:
                path += f"H{svg.number(x)}"
        label = ((points[-2][0] + _NODE[0] + points[-1][0]) / 2, (points[-2][1] + points[-1][1]) / 2 + middle)
    kind = effect["effect"] if effect is not None else "unknown"
    title = f"{edge['from']} → {edge['to']}: {count(edge['calls'])} calls"
    words = []
    if effect is not None:
        after, otherwise = percent(effect["rate_given_error"]), percent(effect["rate_baseline"])
        title += f"; faults of {edge['to']} {after} after a fault of {edge['from']}, else {otherwise}; {kind}"
        if effect["gain"] is not None:
            words = [f"×{digits(effect['gain'])}", {"amplify": "amplifies", "absorb": "absorbs"}.get(kind, "passes on")]
    return svg.el(
        "g",
        svg.el("title", title),
        svg.el("path", d=path, class_=f"edge effect-{kind}", stroke_width=1.2 + 2.4 * weight, marker_end="url(#arrow)"),
        *(svg.text(label[0], label[1] - 8 + 22 * place, word, class_="edge-label", text_anchor="middle") for place, word in enumerate(words)),
    )


def _backward_path(points: list[tuple[float, float]]) -> tuple[str, tuple[float, float]]:
    """Under the nodes, from right to left."""
    (from_x, from_y), (to_x, to_y) = points[0], points[-1]
    start, end, low = from_x + _NODE[0] / 2, to_x + _NODE[0] / 2, max(from_y, to_y) + _NODE[1] + _LOOP
    foot_from, foot_to = from_y + _NODE[1], to_y + _NODE[1] + 2
    path = f"M{svg.number(start)} {svg.number(foot_from)}C{svg.number(start)} {svg.number(low)} {svg.number(end)} {svg.number(low)} "
    return f"{path}{svg.number(end)} {svg.number(foot_to)}", ((start + end) / 2, low - 14)


def _node(row: Document, document: Document, corner: tuple[float, float], links: Links) -> Markup:
    x, y = corner
    stage = row["stage"]
    errors, latency = document["errors"], document["latency"]
    blame = None if errors is None else next((found for found in errors["stages"] if found["stage"] == stage), None)
    timing = next((found for found in latency["stages"] if found["stage"] == stage), None)
    colour = "blame-na" if blame is None else blame_class(blame["blame_share"], blame["verdict"])
    inner = _NODE[0] - 28
    parts = [
        svg.rect(x, y, *_NODE, class_="node", rx=12),
        svg.rect(x, y + 14, 5, _NODE[1] - 28, class_=f"node-mark {colour}", rx=2.5),
        svg.text(x + 18, y + 26, svg.fit(stage, inner, size=15), class_="node-name"),
        svg.text(x + 18, y + 93, f"{count(row['calls'])} calls · p95 {duration(timing['p95_ns']) if timing else '–'}", class_="tick"),
    ]
    if blame is None:
        parts.append(svg.text(x + 18, y + 50, "no blame: no outcomes", class_="figure"))
    elif blame["blame_share"] is None or blame["verdict"] == "not identifiable":
        parts.append(svg.text(x + 18, y + 50, "not identifiable", class_="figure"))
    else:
        said = f"{percent(blame['blame_share'], 0)} {percent_interval(blame['blame_interval'], 0)}"
        parts.append(svg.text(x + 18, y + 50, said, class_="node-figure"))
        verdict = "" if blame["verdict"] == "identified" else f" {blame['verdict']}"
        parts.append(svg.text(x + inner + 10, y + 50, verdict.strip(), class_="was", text_anchor="end"))
        parts.extend(_gauge(blame, x + 18, y + 62, inner))
    title = f"{stage}: {count(row['calls'])} calls"
    if blame is not None:
        title += f"; blame {percent(blame['blame_share'])} {percent_interval(blame['blame_interval'])}, {blame['verdict']}"
    href = links.pipeline(document["pipeline"], stage=stage)
    return svg.link(href, svg.el("g", svg.el("title", title), *parts, class_="node-group"), label=f"{stage}: details")


def _gauge(blame: Document, x: float, y: float, width: float) -> list[Markup]:
    """The share as a bar on 0..1 with its interval as a whisker."""
    bar = [
        svg.rect(x, y, width, 6, class_="gauge", rx=3),
        svg.rect(x, y, width * min(1.0, max(0.0, blame["blame_share"])), 6, class_=blame_class(blame["blame_share"], blame["verdict"]), rx=3),
    ]
    if blame["blame_interval"] is not None:
        low, high = (x + width * min(1.0, max(0.0, end)) for end in blame["blame_interval"])
        bar += [svg.line(low, y + 3, high, y + 3, class_="gauge-whisker"), svg.line(low, y - 1, low, y + 7, class_="gauge-whisker")]
        bar.append(svg.line(high, y - 1, high, y + 7, class_="gauge-whisker"))
    return bar

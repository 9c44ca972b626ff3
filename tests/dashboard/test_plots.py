"""Plots as numbers: where bars, dots and boxes lie, that every plot has words, and that nothing from a trace becomes markup."""

import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from typing import Any

import pytest
from tests.dashboard import factories as make

from headwater.dashboard import svg
from headwater.dashboard.links import Links, outside
from headwater.dashboard.plots.dag import pipeline_dag
from headwater.dashboard.plots.flow import data_flow
from headwater.dashboard.plots.histogram import component_latency
from headwater.dashboard.plots.layout import layout
from headwater.dashboard.plots.scale import LinearScale, LogScale, blame_class
from headwater.dashboard.plots.scatter import error_latency
from headwater.dashboard.plots.waterfall import delta_bar, share_bar, span_bar
from headwater.report.json import overview_document, trace_document
from headwater.report.tree import tree_rows

LINKS = Links(params=(("pipeline", "speech"), ("since", "1h")))


def parsed(markup: Any) -> ET.Element:
    return ET.fromstring(str(markup))


def overview(**said: Any) -> dict[str, Any]:
    return overview_document(make.overview(**said))


@pytest.mark.parametrize(
    ("draw", "name"),
    [(component_latency, "component-latency"), (error_latency, "error-latency"), (data_flow, "data-flow"), (pipeline_dag, "pipeline-graph")],
)
def test_every_plot_is_well_formed_named_and_described(draw: Any, name: str) -> None:
    root = parsed(draw(overview(), LINKS))
    assert root.attrib["data-plot"] == name
    assert root.attrib["role"] == "img"
    title, description = root[0], root[1]
    assert title.tag == "title"
    assert root.attrib["aria-labelledby"] == f"{title.attrib['id']} {description.attrib['id']}"
    assert all(stage in (description.text or "") for stage in make.STAGES)
    assert "style" not in {key for element in root.iter() for key in element.attrib}


@pytest.mark.parametrize("draw", [component_latency, error_latency, data_flow, pipeline_dag])
def test_a_mailed_plot_has_no_links_and_a_served_one_does(draw: Any) -> None:
    served, mailed = str(draw(overview(), LINKS)), str(draw(overview(), Links(standalone=True)))
    assert "<a " in served
    assert "<a " not in mailed
    assert "href" not in mailed


def test_nothing_to_draw_is_none_and_not_an_empty_axis() -> None:
    document = overview(compared=False)
    document["plots"] = {
        "component_latency": {"edges_ns": [], "stages": []},
        "error_latency": [{**point, "error_rate": None, "fault_rate": None} for point in document["plots"]["error_latency"]],
        "data_flow": {"edges_at_ns": [0, 1], "stages": [{"stage": "asr", "calls": [0], "errors": [0]}]},
    }
    document["graph"] = {**document["graph"], "stages": [], "edges": []}
    assert component_latency(document, LINKS) is None
    assert error_latency(document, LINKS) is None
    assert data_flow(document, LINKS) is None
    assert pipeline_dag(document, LINKS) is None


def test_the_slowest_stage_lies_furthest_right_in_the_histogram() -> None:
    root = parsed(component_latency(overview(), LINKS))
    ticks = [float(line.attrib["x1"]) for line in root.iter("line") if line.attrib.get("class") == "quantile"]
    medians = ticks[0::2]
    assert len(medians) == 4
    assert max(medians) == medians[2]
    assert min(medians) == medians[1]
    assert all(p50 < p95 for p50, p95 in zip(ticks[0::2], ticks[1::2], strict=True))


def test_the_tallest_bin_of_a_histogram_stands_at_its_median() -> None:
    root = parsed(component_latency(overview(), LINKS))
    paths = [path.attrib["d"] for path in root.iter("path") if path.attrib.get("class") == "series-fill"]
    medians = [float(line.attrib["x1"]) for line in root.iter("line") if line.attrib.get("class") == "quantile"][0::2]
    for path, median in zip(paths, medians, strict=True):
        steps = [(float(right), float(y)) for y, right in re.findall(r"V([\d.]+)H([\d.]+)", path)]
        tallest = min(steps, key=lambda step: step[1])[0]
        assert abs(tallest - median) < 40


def test_a_long_stage_name_is_cut_to_its_box() -> None:
    name = "a stage with a name that is much too long for the box it stands in"
    document = overview_document(make.renamed(make.overview(), {"asr": name}))
    shown = [text.text or "" for text in parsed(pipeline_dag(document, LINKS)).iter("text") if text.attrib.get("class") == "node-name"]
    assert len(shown[2]) < 24
    assert shown[2].endswith("…")
    assert name in (parsed(pipeline_dag(document, LINKS))[1].text or "")


def test_the_baseline_is_an_outline_only_where_there_is_one() -> None:
    assert str(component_latency(overview(), LINKS)).count("baseline-line") == 4
    assert "baseline-line" not in str(component_latency(overview(compared=False), LINKS))
    assert "257 → 437 ms" in str(component_latency(overview(), LINKS))


def test_scatter_puts_faulty_stages_high_slow_ones_right_and_colours_by_blame() -> None:
    root = parsed(error_latency(overview(), LINKS))
    dots = {}
    for group in root.iter("g"):
        circle = group.find("circle")
        if circle is not None:
            name = (group.findtext("title") or "").split(":")[0]
            dots[name] = (float(circle.attrib["cx"]), float(circle.attrib["cy"]), circle.attrib["class"])
    assert set(dots) == set(make.STAGES)
    assert dots["asr"][1] < dots["vad"][1] < dots["capture"][1] < dots["nlu"][1]
    assert dots["asr"][0] == max(dot[0] for dot in dots.values())
    assert dots["asr"][2] == "dot blame-4"
    assert dots["vad"][2] == "dot blame-1"
    assert dots["nlu"][2] == "dot blame-na"


def test_scatter_names_do_not_lie_on_each_other() -> None:
    document = overview()
    for point in document["plots"]["error_latency"]:
        point |= {"p50_ns": 2e7, "p95_ns": 4e7, "fault_rate": 0.01, "error_rate": 0.0}
    root = parsed(error_latency(document, LINKS))
    heights = sorted(float(text.attrib["y"]) for text in root.iter("text") if text.attrib.get("class") == "label")
    assert len(heights) == 4
    assert all(low + 13 <= high for low, high in pairwise(heights))


def test_flow_tells_what_was_lost_on_the_way() -> None:
    document = overview()
    calls = {row["stage"]: sum(row["calls"]) for row in document["plots"]["data_flow"]["stages"]}
    lost = calls["vad"] - calls["asr"]
    assert lost > 0
    assert f"{lost} of its input lost" in str(data_flow(document, LINKS))


@pytest.mark.parametrize(
    ("share", "verdict", "name"),
    [
        (None, None, "blame-na"),
        (0.9, "not identifiable", "blame-na"),
        (0.0, None, "blame-0"),
        (0.05, "bounded", "blame-1"),
        (0.49, "identified", "blame-3"),
        (1.0, "identified", "blame-4"),
    ],
)
def test_colour_of_blame(share: float | None, verdict: str | None, name: str) -> None:
    assert blame_class(share, verdict) == name


def test_log_scale_is_exact_at_its_ends_and_clips_outside() -> None:
    axis = LogScale(low=1e3, high=1e9, left=10, right=70)
    assert axis.at(1e3) == 10
    assert axis.at(1e9) == 70
    assert axis.at(1e6) == pytest.approx(40)
    assert axis.at(1e15) == 70
    assert axis.at(0) == 10
    assert [words for _, words in axis.ticks()] == ["1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s"]


def test_linear_scale_ticks_are_round_and_reach_the_top() -> None:
    axis = LinearScale(high=0.12, bottom=100, top=0)
    assert axis.at(0) == 100
    assert axis.at(0.12) == 0
    assert axis.ticks() == pytest.approx([0.0, 0.05, 0.1])


def overlaps(boxes: list[tuple[float, float]]) -> bool:
    return any(abs(a[0] - b[0]) < 184 and abs(a[1] - b[1]) < 104 for place, a in enumerate(boxes) for b in boxes[:place])


def boxes_of(markup: Any) -> list[tuple[float, float]]:
    return [(float(box.attrib["x"]), float(box.attrib["y"])) for box in parsed(markup).iter("rect") if box.attrib.get("class") == "node"]


SHAPES = {
    "one": (1, []),
    "chain": (4, [(0, 1), (1, 2), (2, 3)]),
    "diamond": (5, [(0, 1), (0, 2), (1, 3), (2, 3), (3, 4)]),
    "skip": (4, [(0, 1), (1, 2), (2, 3), (0, 3), (0, 2)]),
    "cycle": (3, [(0, 1), (1, 2), (2, 0)]),
    "self loop": (2, [(0, 0), (0, 1)]),
    "islands": (6, []),
    "fan": (9, [(0, place) for place in range(1, 9)]),
    "crossed": (4, [(0, 3), (1, 2)]),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_graph_draws_every_stage_apart_and_every_edge(shape: str) -> None:
    n, edges = SHAPES[shape]
    stages = [f"stage {place}" for place in range(n)]
    document = overview(labelled=False)
    document["graph"] = {
        **document["graph"],
        "stages": [{"stage": stage, "calls": 5} for stage in stages],
        "edges": [{"from": stages[a], "to": stages[b], "calls": 5, "declared": True} for a, b in edges],
    }
    markup = pipeline_dag(document, LINKS)
    boxes = boxes_of(markup)
    assert len(boxes) == n
    assert not overlaps(boxes)
    root = parsed(markup)
    width, height = (float(part) for part in root.attrib["viewBox"].split()[2:])
    assert all(0 <= x <= width - 184 and 0 <= y <= height - 104 for x, y in boxes)
    drawn = [path for path in root.iter("path") if path.attrib.get("class", "").startswith("edge")]
    assert len(drawn) == len([edge for edge in edges if edge[0] != edge[1]])


def test_edges_go_right_and_barycentres_uncross_them() -> None:
    n, edges = SHAPES["crossed"]
    plan = layout(n, edges)
    assert plan.place[0][1] < plan.place[1][1]
    assert plan.place[3][1] < plan.place[2][1]
    for name in ("chain", "diamond", "skip", "fan"):
        n, edges = SHAPES[name]
        plan = layout(n, edges)
        assert not plan.backward
        assert all(plan.place[a][0] < plan.place[b][0] for a, b in edges)


def test_a_cycle_is_cut_at_its_closing_edge() -> None:
    plan = layout(3, SHAPES["cycle"][1])
    assert plan.backward == {(2, 0)}
    assert [plan.place[node][0] for node in range(3)] == [0, 1, 2]


def test_a_long_edge_gets_a_waypoint_in_every_layer_it_passes() -> None:
    plan = layout(4, SHAPES["skip"][1])
    route = plan.routes[0, 3]
    assert [layer for layer, _ in route] == [0, 1, 2, 3]
    assert not set(route[1:-1]) & set(plan.place.values())


def test_layout_of_a_long_chain_needs_no_recursion() -> None:
    n = 3000
    plan = layout(n, [(place, place + 1) for place in range(n - 1)])
    assert plan.place[n - 1] == (n - 1, 0)


def test_a_span_bar_stretches_its_critical_path() -> None:
    document = trace_document(make.trace_answer())
    rows = tree_rows(document)
    asr = next(row for row in rows if row.span["stage"] == "asr")
    boxes = {box.attrib["class"]: box for box in parsed(span_bar(asr, document)).iter("rect")}
    assert float(boxes["on-path"].attrib["x"]) == pytest.approx(1000 * 60 / 375, abs=0.1)
    assert float(boxes["on-path"].attrib["width"]) == pytest.approx(1000 * 260 / 375, abs=0.1)
    nlu = next(row for row in rows if row.span["stage"] == "nlu")
    assert "failed" in str(span_bar(nlu, document))


def test_small_bars_mark_zero_interval_and_side() -> None:
    worse = parsed(delta_bar(0.5, [0.25, 0.75], widest=1.0, flagged=True))
    box = next(iter(worse.iter("rect")))
    assert (float(box.attrib["x"]), float(box.attrib["width"]), box.attrib["class"]) == (60, 30, "delta-origin")
    better = next(iter(parsed(delta_bar(-0.5, None, widest=1.0, flagged=True)).iter("rect")))
    assert (float(better.attrib["x"]), better.attrib["class"]) == (30, "delta-better")
    assert str(delta_bar(None, None, widest=1.0, flagged=False)) == ""
    assert str(share_bar(None, None, "neutral")) == ""
    assert [float(box.attrib["width"]) for box in parsed(share_bar(0.25, [0.2, 2.0], "blame-1")).iter("rect")] == [120, 30]


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "'; alert(1); '",
    "a&b<c>",
    "\x1b[31m\x00\x0b",
    "]]><svg/onload=alert(1)>",
    "{{7*7}}",
    "\u202eksa",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_stage_name_stays_text(name: str) -> None:
    answer = make.renamed(make.overview(), {"asr": name})
    document = overview_document(answer)
    for draw in (component_latency, error_latency, data_flow, pipeline_dag):
        markup = str(draw(document, LINKS))
        root = ET.fromstring(markup)
        tags = {element.tag for element in root.iter()}
        assert tags <= {"svg", "title", "desc", "g", "a", "path", "line", "rect", "text", "circle", "defs", "marker"}
        assert not any(key.startswith("on") for element in root.iter() for key in element.attrib)


def test_elements_refuse_numbers_that_are_none() -> None:
    with pytest.raises(ValueError, match="coordinate"):
        svg.rect(float("nan"), 0, 1, 1, class_="x")
    assert str(svg.el("g", "a<b", None, x=1.04, data_x='"', y=None)) == '<g x="1" data-x="&#34;">a&lt;b</g>'
    assert svg.fit("abcdefgh", 30, size=10) == "abcd…"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("http://h:1/trace/ab?uiFind=1", True),
        ("https://h/x", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//h/x", False),
        ("http:x", False),
        (None, False),
        (" javascript:alert(1)", False),
    ],
)
def test_links_out_are_http_only(url: str | None, *, kept: bool) -> None:
    assert (outside(url) is not None) == kept


def test_a_span_link_replaces_what_jaeger_should_find() -> None:
    assert outside("http://h:1/base/trace/ab?uiFind=1", span_id="00ff") == "http://h:1/base/trace/ab?uiFind=00ff"


def test_links_keep_the_state_and_escape_names() -> None:
    links = Links(params=(("pipeline", "speech"), ("since", "1h"), ("where", "a=1"), ("where", "b=2"), ("evil", "x")))
    assert links.with_params("/") == "/?pipeline=speech&since=1h&where=a%3D1&where=b%3D2"
    assert links.with_params("/", since=None, baseline="previous") == "/?pipeline=speech&where=a%3D1&where=b%3D2&baseline=previous"
    assert links.pipeline("a/b c", stage="x/y") == "/pipelines/a%2Fb%20c?since=1h&where=a%3D1&where=b%3D2#stage-x%2Fy"
    assert links.trace("../x") == "/t/..%2Fx"
    assert Links(standalone=True).overview("x") is None
    assert not re.search(r'[<>"]', links.pipeline('"><x>') or "")

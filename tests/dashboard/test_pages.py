"""Pages as HTML: what they say, where they lead, that a hostile trace stays text, and the report that is mailed."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest
from tests.dashboard import factories as make

from headwater.dashboard import pages
from headwater.dashboard.environment import environment, static_files
from headwater.dashboard.links import Links
from headwater.dashboard.standalone import standalone
from headwater.dashboard.trace_page import LISTED, ROWS_DRAWN, trace_page
from headwater.model.answers import Flow
from headwater.report.json import health_document, overview_document, trace_document, traces_document

VIEW = pages.View(links=Links(params=(("pipeline", "speech"), ("baseline", "previous"))), pipeline="speech")


class Outline(HTMLParser):
    """Tags and attributes as a browser sees them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))

    def values(self, attribute: str) -> list[str]:
        return [attributes[attribute] or "" for _, attributes in self.tags if attribute in attributes]


def overview(**said: Any) -> str:
    return pages.overview_page(overview_document(make.overview(**said)), VIEW)


def test_the_overview_has_the_sentence_on_top_and_the_four_plots_in_order() -> None:
    page = Outline(overview())
    assert page.values("data-plot") == ["component-latency", "error-latency", "data-flow", "alert-history"]
    first = next(place for place, (tag, _) in enumerate(page.tags) if tag == "h1")
    assert first < next(place for place, (_, attributes) in enumerate(page.tags) if "data-plot" in attributes)
    assert "Errors 4.1 → 7.9 % (+3.8 points): asr own +2.6" in page.text
    assert "855 of 900 runs labelled against 800 before" in page.text


def test_every_plot_has_its_figures_as_a_table_behind_it() -> None:
    page = overview()
    for plot in ("component-latency", "error-latency", "data-flow"):
        after = page[page.index(f'data-plot="{plot}"') :]
        table = after[after.index("<details") : after.index("</details>")]
        assert all(f"<th>{stage}</th>" in table for stage in make.STAGES)


def test_alerts_lead_to_an_example_and_name_their_cost() -> None:
    page = overview()
    card = page[page.index('data-plot="alert-history"') :]
    assert f'href="/t/{make.TRACE_HEX}"' in card
    assert "+2.6 points" in card
    assert "+231 ms" in card


def test_without_baseline_alerts_offer_one() -> None:
    page = Outline(overview(compared=False))
    assert "No baseline, so nothing can have changed" in page.text
    assert any("baseline=previous" in href for href in page.values("href"))
    assert "origin" not in page.text.split("Stages")[1]


def test_without_outcomes_it_says_so_and_tells_the_command() -> None:
    page = Outline(overview(labelled=False))
    assert "No blame yet" in page.text
    assert "headwater outcome import FILE" in page.text
    assert "not identifiable" in page.text


def test_an_unidentified_share_is_never_drawn_as_a_bar() -> None:
    rows = {row["stage"]: row for row in pages.stage_rows(overview_document(make.overview()))}
    assert rows["nlu"]["share_bar"] == ""
    assert "blame-4" in rows["asr"]["share_bar"]
    assert "delta-origin" in rows["asr"]["delta_bar"]
    assert "delta-calm" in rows["vad"]["delta_bar"]


def test_links_keep_window_and_baseline() -> None:
    found = [href for href in Outline(overview()).values("href") if href.startswith(("/?", "/pipelines", "/index"))]
    assert found
    assert all("baseline=previous" in href or "since" not in href for href in found if "/pipelines/" in href)
    assert "/index.json?pipeline=speech&baseline=previous" in found


def test_the_header_shows_lag_and_rejections_on_every_page() -> None:
    view = replace(VIEW, health=health_document(make.health()))
    for page in (
        pages.overview_page(overview_document(make.overview()), view),
        trace_page(trace_document(make.trace_answer()), view),
        pages.empty_page(view),
    ):
        text = Outline(page).text
        assert "ingest lag 0.42 s" in text
        assert "5 rejected" in text
    unknown = replace(VIEW, health=health_document(make.health(lag_ns=None)))
    assert "ingest lag –" in Outline(pages.empty_page(unknown)).text


def test_the_pipeline_page_shows_graph_evidence_and_runs() -> None:
    document = {**overview_document(make.overview()), "traces": traces_document("speech", make.FixedAnswers().recent(make.query(), 5))["traces"]}
    page = Outline(pages.pipeline_page(document, VIEW))
    assert "pipeline-graph" in page.values("data-plot")
    assert "×1.8 amplifies" in page.text
    assert "asr.confidence symptom no 0.91 no" in page.text
    assert f"/t/{make.OTHER_HEX}" in page.values("href")
    assert {f"stage-{stage}" for stage in make.STAGES} <= set(page.values("id"))


def test_the_trace_page_shows_path_blame_and_jaeger() -> None:
    page = Outline(trace_page(trace_document(make.trace_answer()), VIEW))
    assert "This run failed: asr introduced it, 70 % of the failure." in page.text
    assert f"http://127.0.0.1:16686/trace/{make.TRACE_HEX}?uiFind=1000000000000001" in page.values("href")
    assert f"http://127.0.0.1:16686/trace/{make.TRACE_HEX}?uiFind=4000000000000004" in page.values("href")
    assert "introduced it" in page.text
    assert "22 % unattributed" in page.text
    assert "adds up to 375 ms exactly" in page.text
    assert "headwater.own.dropped_p 0.12" in page.text
    names = [attributes["class"] for tag, attributes in page.tags if tag == "span" and "name" in (attributes.get("class") or "").split()]
    assert names == ["name depth-0 critical", *["name depth-1 critical"] * 4]


def test_a_trace_without_blame_or_jaeger_says_why_and_links_nowhere() -> None:
    answer = replace(make.trace_answer(blamed=False, partial=True), jaeger_url="javascript:alert(1)")
    page = Outline(trace_page(trace_document(answer), VIEW))
    assert "this run has no outcome yet" in page.text
    assert "may still grow" in page.text
    assert not [href for href in page.values("href") if "javascript" in href]


def test_a_run_that_went_right_is_not_called_a_failure() -> None:
    blame = make.trace_blame()
    zero = np.zeros_like(blame.own)
    right = replace(
        blame,
        loss=np.array([0.0]),
        own=zero,
        share=zero,
        residual=np.array([-0.17]),
        unattributed=np.array([0.0]),
        introduced_by=np.array([-1], np.int64),
    )
    page = Outline(trace_page(trace_document(replace(make.trace_answer(), blame=right)), VIEW))
    assert "This run went right" in page.text
    assert "failed" not in page.text.split("Waterfall")[0]


def test_a_huge_trace_is_cut_with_a_note() -> None:
    stages = tuple(f"s{place}" for place in range(ROWS_DRAWN + 40))
    document = trace_document(make.trace_answer(stages))
    page = trace_page(document, VIEW)
    assert page.count('class="fall"') == ROWS_DRAWN
    assert "41 more spans are not drawn" in Outline(page).text
    assert f"{len(stages) + 1 - LISTED} more components" in Outline(page).text
    assert f"{len(stages) - LISTED} more stages" in Outline(page).text
    assert len(page) < 1_500_000


def test_more_stages_than_a_plot_holds_are_counted_on_it() -> None:
    stages = tuple(f"s{place}" for place in range(160))
    base = make.overview()
    spent = dict.fromkeys(stages, np.full(3, 5e6))
    flow = Flow(stages=stages, edges_ns=np.arange(3, dtype=np.int64), calls=np.full((2, 160), 3, np.int64), errors=np.zeros((2, 160), np.int64))
    answer = replace(base, graph=make.graph(stages), durations_ns=spent, baseline_durations_ns=None, flow=flow)
    document = {**overview_document(answer), "traces": []}
    assert pages.overview_page(document, VIEW).count("146 more in the table") == 2
    assert "Too many stages to draw" in pages.pipeline_page(document, VIEW)


HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<svg/onload=alert(1)>",
    "{{ 7*7 }}{% raw %}",
    "</style><script>alert(1)</script>",
    "javascript:alert(1)",
    "&lt;script&gt;",
    "\x00\x1b[31m\u202eksa",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_add_no_tag_and_no_handler_to_any_page(name: str) -> None:
    answer = make.renamed(make.overview(), {"asr": name, "speech": name, "loss": name})
    document = overview_document(answer)
    health = replace(make.health(), rejected={name: 1})
    stages = ("capture", "vad", name, "nlu")
    found = [
        pages.overview_page(document, replace(VIEW, pipelines=document["pipelines"], pipeline=name)),
        pages.pipeline_page({**document, "traces": []}, replace(VIEW, pipeline=name)),
        trace_page(trace_document(replace(make.trace_answer(stages, text=name), blame_missing=name)), VIEW),
        pages.health_page(health_document(health), VIEW),
        pages.error_page({"text": name, "next": name}, VIEW, title=name),
        standalone(document),
    ]
    for page in found:
        outline = Outline(page)
        assert not {tag for tag, _ in outline.tags} & {"script", "img", "iframe", "object", "embed"}
        assert not [key for _, attributes in outline.tags for key in attributes if key.startswith("on") or key == "srcdoc"]
        assert not [href for href in outline.values("href") if href.startswith(("javascript:", "data:"))]
        assert "49" not in outline.text or "{{" not in name
        assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", page)
    assert name.startswith(("\x00", "</style>")) or name in " ".join(Outline(found[0]).words)


def test_no_page_has_inline_style_or_script() -> None:
    document = overview_document(make.overview())
    for page in (
        overview(),
        pages.pipeline_page({**document, "traces": []}, VIEW),
        trace_page(trace_document(make.trace_answer()), VIEW),
        pages.empty_page(VIEW),
    ):
        assert not Outline(page).values("style")
        assert not [tag for tag, _ in Outline(page).tags if tag in {"script", "style"}]


def test_the_mailed_report_is_one_small_file_that_needs_nothing() -> None:
    page = standalone(overview_document(make.overview()))
    outline = Outline(page)
    assert len(page.encode()) < 200_000
    assert not outline.values("href")
    assert not outline.values("src")
    assert not [tag for tag, _ in outline.tags if tag in {"script", "link", "img", "iframe"}]
    assert set(re.findall(r"url\(.", page)) == {"url(#"}
    assert {"component-latency", "error-latency", "data-flow", "alert-history", "pipeline-graph"} == set(outline.values("data-plot"))
    assert "Errors 4.1 → 7.9 %" in outline.text


def test_a_report_of_twenty_stages_and_a_hundred_thousand_calls_stays_small() -> None:
    rng = np.random.default_rng(5)
    stages = tuple(f"stage-{place:02d}" for place in range(20))
    base = make.overview()
    rows = tuple(replace(base.latency.stages[0], stage=stage, calls=100_000) for stage in stages)
    flow = Flow(
        stages=stages, edges_ns=np.arange(201, dtype=np.int64) * 10**9, calls=np.full((200, 20), 9, np.int64), errors=np.zeros((200, 20), np.int64)
    )
    answer = replace(
        base,
        graph=make.graph(stages),
        latency=replace(base.latency, stages=rows),
        durations_ns={stage: 1e7 * np.exp(rng.standard_normal(100_000)) for stage in stages},
        baseline_durations_ns=None,
        flow=flow,
    )
    assert len(standalone(overview_document(answer)).encode()) < 200_000


def test_headline_is_the_first_sentence_and_intervals_do_not_break() -> None:
    headline, support = pages.split_sentence(
        "Errors 4.1 → 7.9 %: asr own +2.6 [2.1, 3.1]; 0.2 unexplained. 855 of 900 runs labelled. p95 latency 1 s."
    )
    assert headline.endswith("[2.1,\u00a03.1]; 0.2 unexplained.")
    assert support == "855 of 900 runs labelled. p95 latency 1 s."
    assert pages.split_sentence("Nothing to report yet.") == ("Nothing to report yet.", "")


def test_every_class_a_page_names_is_in_the_style_sheet() -> None:
    css = static_files()["headwater.css"][0].decode()
    styled = set(re.findall(r"\.([a-z][a-z0-9-]*)", css))
    document = overview_document(make.overview())
    view = replace(VIEW, pipelines=document["pipelines"], health=health_document(make.health()))
    found = [
        pages.overview_page(document, view),
        pages.pipeline_page({**document, "traces": []}, view),
        trace_page(trace_document(make.trace_answer()), view),
    ]
    found += [pages.health_page(health_document(make.health()), view), pages.empty_page(view), overview(compared=False, labelled=False)]
    used = {name for page in found for names in Outline(page).values("class") for name in names.split()}
    free = {
        "node-mark",
        "calm",
        "edge",
        "fall-head",
        "effect-pass",
        "effect-unknown",
        "neutral",
        "depth-0",
        "verdict-not-identifiable",
        "quantile-name",
    }
    free |= {"words", "critical", "standalone", "trace-head", "exemplars", "wide", "evidence", "severity-info", "ok"}
    assert used - styled - free == set()


def test_the_style_sheet_fetches_nothing_and_knows_dark() -> None:
    css = static_files()["headwater.css"][0].decode()
    assert "url(" not in css
    assert "@import" not in css
    assert "prefers-color-scheme: dark" in css
    assert "</style" not in css


def test_templates_escape_by_default_and_unknown_names_are_errors() -> None:
    assert environment().autoescape is True
    with pytest.raises(Exception, match="undefined"):
        environment().from_string("{{ nobody }}").render()

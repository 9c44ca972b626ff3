"""Every page in a real Chromium: no console message, plots there, links lead somewhere, hostile names run nothing, dark, keyboard."""

import os
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from tests.dashboard import factories as make

from headwater.dashboard.standalone import standalone
from headwater.report.json import overview_document
from headwater.service.http import http_app

pytestmark = pytest.mark.browser

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
BADGE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
PAGES = {
    "overview": "/?pipeline=speech",
    "overview compared": "/?pipeline=speech&baseline=previous",
    "pipeline": "/pipelines/speech?baseline=previous",
    "trace": f"/t/{make.TRACE_HEX}",
    "health": "/health",
}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        reason = "no chromium on this machine: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield found
        found.close()


@contextmanager
def served(answers: make.FixedAnswers) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(http_app(answers), host="127.0.0.1", port=0, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not server.started:
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    with served(make.FixedAnswers()) as base:
        yield base


@contextmanager
def opened(browser: Browser, **said: Any) -> Iterator[tuple[Page, list[str]]]:
    """A page of a fresh profile, and everything its console or its network complained about."""
    context = browser.new_context(viewport={"width": 1440, "height": 900}, **said)
    page = context.new_page()
    complaints: list[str] = []

    def heard(message: ConsoleMessage) -> None:
        complaints.append(f"{message.type}: {message.text}")

    page.on("console", heard)
    page.on("pageerror", lambda error: complaints.append(f"error: {error}"))
    page.on("requestfailed", lambda request: complaints.append(f"failed: {request.url}"))
    yield page, complaints
    context.close()


def wide(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_every_page_renders_without_a_complaint(browser: Browser, site: str, name: str, scheme: Any) -> None:
    with opened(browser, color_scheme=scheme) as (page, complaints):
        answer = page.goto(site + PAGES[name])
        assert answer is not None
        assert answer.status == 200
        assert page.locator("h1").inner_text()
        assert page.locator(".lag").is_visible()
        assert wide(page) <= 0
        light = int(page.evaluate("parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"))
        assert (light > 200) == (scheme == "light")
        assert complaints == []


def test_the_four_plots_have_size_and_a_name_for_those_who_cannot_see(browser: Browser, site: str) -> None:
    with opened(browser) as (page, _):
        page.goto(site + PAGES["overview compared"])
        for plot in ("component-latency", "error-latency", "data-flow", "alert-history"):
            card = page.locator(f'[data-plot="{plot}"]')
            assert card.count() == 1
            box = card.bounding_box()
            assert box is not None
            assert box["width"] > 400
            assert box["height"] > 120
        names = page.get_by_role("img").all()
        assert len(names) == 3
        tops = [page.locator(f'[data-plot="{plot}"]').bounding_box() for plot in ("component-latency", "error-latency", "data-flow", "alert-history")]
        assert tops[0]["x"] < tops[1]["x"], "the quadrants stand two by two"
        assert tops[2]["y"] > tops[0]["y"]


def test_labels_of_a_plot_do_not_run_out_of_it(browser: Browser, site: str) -> None:
    with opened(browser) as (page, _):
        page.goto(site + PAGES["overview compared"])
        outside = page.evaluate(
            """() => [...document.querySelectorAll('svg.plot')].flatMap(plot => { const box = plot.getBoundingClientRect();
            return [...plot.querySelectorAll('text')].filter(text => { const inner = text.getBoundingClientRect();
            return inner.left < box.left - 1 || inner.right > box.right + 1 || inner.bottom > box.bottom + 1 || inner.top < box.top - 1 })
            .map(text => text.textContent) })"""
        )
        assert outside == []


def test_every_link_of_every_page_leads_somewhere(browser: Browser, site: str) -> None:
    with opened(browser) as (page, _):
        seen: set[str] = set()
        for path in PAGES.values():
            page.goto(site + path)
            hrefs = page.evaluate(
                "[...document.querySelectorAll('a')].map(a => new URL(a.getAttribute('href') ?? a.href.baseVal, document.baseURI).href)"
            )
            seen |= {href.split("#")[0] for href in hrefs if href.startswith(site)}
        assert len(seen) > 12
        broken = [href for href in sorted(seen) if page.request.get(href).status != 200 and make.OTHER_HEX not in href]
        assert broken == []


def test_from_the_sentence_to_the_span_in_jaeger_by_clicks(browser: Browser, site: str) -> None:
    with opened(browser) as (page, complaints):
        page.goto(site + "/?pipeline=speech")
        page.get_by_role("link", name="against the window before").click()
        assert "baseline=previous" in page.url
        page.locator('[data-plot="alert-history"] a').first.click()
        assert page.url.endswith(f"/t/{make.TRACE_HEX}")
        row = page.locator(f"#span-{0x4000000000000004:016x}")
        row.locator("summary").click()
        assert row.locator("dd", has_text="asr-2026.3").is_visible()
        jaeger = row.get_by_role("link", name="This span in Jaeger")
        assert jaeger.get_attribute("href") == f"http://127.0.0.1:16686/trace/{make.TRACE_HEX}?uiFind={0x4000000000000004:016x}"
        page.get_by_role("link", name="speech", exact=True).click()
        assert "/pipelines/speech" in page.url
        assert complaints == []


def test_the_window_form_puts_its_state_into_the_url(browser: Browser, site: str) -> None:
    with opened(browser) as (page, _):
        page.goto(site + "/?pipeline=speech")
        page.get_by_text("Other window").click()
        page.get_by_label("From").first.fill("2h")
        page.get_by_role("button", name="Show").click()
        assert "since=2h" in page.url
        assert "pipeline=speech" in page.url
        page.locator(".menu summary").click()
        page.locator(".menu a", has_text="recommendation").click()
        assert "pipeline=recommendation" in page.url
        assert "since=2h" in page.url


def test_the_keyboard_reaches_links_rows_and_plots_with_a_visible_focus(browser: Browser, site: str) -> None:
    with opened(browser) as (page, _):
        page.goto(site + PAGES["trace"])
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.textContent") == "Skip to the answer"
        found = set()
        for _ in range(30):
            page.keyboard.press("Tab")
            tag, outline = page.evaluate("[document.activeElement.tagName, getComputedStyle(document.activeElement).outlineStyle]")
            found.add(tag.lower())
            assert outline != "none", f"{tag} shows no focus"
            if tag == "SUMMARY" and "fall-row" in page.evaluate("document.activeElement.className"):
                break
        page.keyboard.press("Enter")
        assert page.locator("details.fall[open]").count() == 1
        page.goto(site + PAGES["overview compared"])
        plots = page.evaluate("[...document.querySelectorAll('svg.plot a')].filter(a => a.tabIndex >= 0).length")
        assert plots == 12
        assert {"a", "summary"} <= found


@pytest.fixture(scope="module")
def hostile() -> Iterator[str]:
    stages = ("capture", "vad", BADGE, "nlu")
    answer = replace(make.trace_answer(stages, text=BADGE), blame_missing=BADGE)
    overview = make.renamed(make.overview(), {"asr": BADGE})
    with served(make.FixedAnswers(trace_answer=answer, overview_answer=overview)) as base:
        yield base


@pytest.mark.parametrize(
    "path", [*PAGES.values(), "/report.html", f"/t/<script>{BADGE}", f"/pipelines/{BADGE}", f"/?pipeline={BADGE}", f"/?since={BADGE}"]
)
def test_names_from_traces_and_urls_run_nothing(browser: Browser, hostile: str, path: str) -> None:
    with opened(browser) as (page, complaints):
        if path == "/report.html":
            page.set_content(page.request.get(hostile + path).text())
        else:
            page.goto(hostile + path)
        page.wait_for_timeout(100)
        assert page.title() != "owned"
        assert page.locator("script, img, iframe").count() == 0
        assert not [said for said in complaints if "404" not in said], complaints
        if path in (PAGES["overview"], PAGES["trace"]):
            assert BADGE[:20] in page.locator("main").inner_text()


def test_an_empty_store_tells_the_next_commands(browser: Browser) -> None:
    with served(make.FixedAnswers(empty=True)) as base, opened(browser) as (page, complaints):
        page.goto(base)
        words = page.locator("main").inner_text()
        assert "Nothing has flowed here yet" in words
        assert "headwater serve" in words
        assert "headwater ingest traces.jsonl" in words
        assert complaints == []


def test_an_unknown_pipeline_is_a_page_with_a_way_out(browser: Browser, site: str) -> None:
    with opened(browser) as (page, _):
        answer = page.goto(site + "/pipelines/spech")
        assert answer is not None
        assert answer.status == 404
        assert "known: speech, recommendation" in page.locator("main").inner_text()
        page.locator("main").get_by_role("link", name="Overview").click()
        assert page.locator('[data-plot="component-latency"]').is_visible()


def test_the_mailed_report_opens_from_a_file(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(standalone(overview_document(make.overview())), encoding="utf-8")
    with opened(browser, offline=True) as (page, complaints):
        page.goto(path.as_uri())
        for plot in ("component-latency", "error-latency", "data-flow", "alert-history", "pipeline-graph"):
            assert page.locator(f'[data-plot="{plot}"]').is_visible()
        fill = page.evaluate("getComputedStyle(document.querySelector('.series-fill')).fill")
        assert fill not in {"none", "rgb(0, 0, 0)"}, "the style was not applied"
        assert wide(page) <= 0
        assert complaints == []


def test_a_narrow_screen_stacks_the_quadrants(browser: Browser, site: str) -> None:
    with opened(browser) as (page, _):
        page.set_viewport_size({"width": 420, "height": 900})
        for name in ("overview compared", "trace", "pipeline", "health"):
            page.goto(site + PAGES[name])
            assert wide(page) <= 0, name
        page.goto(site + PAGES["overview compared"])
        first, second = (page.locator(f'[data-plot="{plot}"]').bounding_box() for plot in ("component-latency", "error-latency"))
        assert first is not None
        assert second is not None
        assert second["y"] > first["y"] + first["height"]

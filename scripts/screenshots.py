"""Screenshots of a running service for docs/images: python scripts/screenshots.py http://127.0.0.1:8417 [query]. Needs chromium."""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

OUT = Path(__file__).parent.parent / "docs" / "images"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def shot(browser: Browser, url: str, name: str, *, dark: bool = False, height: int = 900) -> None:
    """One page of 1280 pixels' width, as far down as `height`."""
    context = browser.new_context(viewport={"width": 1280, "height": height}, color_scheme="dark" if dark else "light")
    page = context.new_page()
    page.goto(url)
    page.screenshot(path=OUT / name)
    context.close()
    print(f"{name}: {(OUT / name).stat().st_size / 1000:.0f} kB")


def main() -> int:
    """Overview (light and dark), pipeline and the worst trace of the pipeline that ran last."""
    base = sys.argv[1].rstrip("/")
    query = f"?{sys.argv[2]}" if len(sys.argv) > 2 else ""
    OUT.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        context = browser.new_context()
        found = context.request.get(f"{base}/index.json{query}").json()
        worst = next(iter([*found["exemplars"]["failed"], *found["exemplars"]["slowest"]]))
        shot(browser, f"{base}/{query}", "overview.png", height=1240)
        shot(browser, f"{base}/{query}", "overview-dark.png", dark=True, height=1240)
        shot(browser, f"{base}/pipelines/{found['pipeline']}{query}", "pipeline.png", height=760)
        shot(browser, f"{base}/t/{worst}", "trace.png", height=900)
        browser.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

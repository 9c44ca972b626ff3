"""jaeger/*.yaml and jaeger/ui.json in the real Jaeger: links both ways, and spans that survive a restart with badger."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from e2e_processes import JAEGER_BADGER_FILE, JAEGER_FILE, JAEGER_UI_FILE, Jaeger, plain_environment
from e2e_spans import Sender, jaeger_spans, make_span, wait_until

from headwater.service.settings import Settings

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("config", [JAEGER_FILE, JAEGER_BADGER_FILE], ids=["memory", "badger"])
def test_jaeger_accepts_its_files(binaries: dict[str, Path], config: Path) -> None:
    done = subprocess.run(
        [binaries["HEADWATER_JAEGER"], "validate", "--config", config],
        env=plain_environment({}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_the_two_files_differ_in_the_backend_only() -> None:
    memory, badger = (yaml.safe_load(path.read_text()) for path in (JAEGER_FILE, JAEGER_BADGER_FILE))
    backends = [document["extensions"]["jaeger_storage"].pop("backends") for document in (memory, badger)]
    assert memory == badger
    assert [list(backend["traces"]) for backend in backends] == [["memory"], ["badger"]]


def _ui_config(jaeger: Jaeger) -> dict[str, Any]:
    """The configuration as Jaeger hands it to the browser, in the page itself."""
    page = httpx.get(f"{jaeger.query}/search", timeout=5)
    assert page.status_code == 200
    found = re.search(r"JAEGER_CONFIG = (\{.*?\});", page.text, re.DOTALL)
    assert found, page.text[:2000]
    document: dict[str, Any] = json.loads(found[1])
    return document


def test_the_page_carries_the_link_back_to_headwater(start_jaeger: Callable[..., Jaeger]) -> None:
    config = _ui_config(start_jaeger())
    assert config == json.loads(JAEGER_UI_FILE.read_text())
    (pattern,) = config["linkPatterns"]
    assert pattern["type"] == "traces"
    port = Settings.model_fields["http_port"].default
    assert pattern["url"] == f"http://127.0.0.1:{port}/t/#{{traceID}}"


@pytest.mark.parametrize("base", ["/", "/jaeger"])
def test_the_deep_link_answers_under_a_base_path_too(start_jaeger: Callable[..., Jaeger], sender_to: Callable[[str], Sender], base: str) -> None:
    jaeger = start_jaeger(settings={"JAEGER_BASE_PATH": base})
    span = make_span("asr", {"headwater.confidence": 0.75})
    sender_to(f"127.0.0.1:{jaeger.otlp_port}").send([span])
    prefix = jaeger.query + base.rstrip("/")
    trace, span_id = span.trace_id.hex(), span.span_id.hex()
    wait_until(lambda: bool(jaeger_spans(prefix, [trace])), lambda: "the trace is not in Jaeger")
    answer = httpx.get(f"{prefix}/trace/{trace}?uiFind={span_id}", timeout=5)
    assert answer.status_code == 200
    assert "text/html" in answer.headers["content-type"]


def test_badger_keeps_the_spans_over_a_restart(start_jaeger: Callable[..., Jaeger], sender_to: Callable[[str], Sender]) -> None:
    jaeger = start_jaeger(config=JAEGER_BADGER_FILE)
    span = make_span("asr", {"headwater.confidence": 0.75})
    sender_to(f"127.0.0.1:{jaeger.otlp_port}").send([span])
    assert jaeger.stop(timeout_s=20) == 0
    jaeger.start()
    (found,) = jaeger_spans(jaeger.query, [span.trace_id.hex()])
    assert (found["span"], found["values"]["headwater.confidence"]) == (span.span_id.hex(), 0.75)

"""Where documents come from: the store's files, or a running service by URL. Both give the same documents."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from headwater.model.errors import UnreachableError, error_of
from headwater.report.json import trace_document
from headwater.service.app import open_answers
from headwater.service.documents import document, resolve
from headwater.service.settings import load_settings

Document = dict[str, Any]
_TIMEOUT_S = 120.0
_ALL_LIMIT = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the shared options said, as texts."""

    store: Path | None = None
    url: str | None = None
    params: Mapping[str, object] = field(default_factory=dict)


def ask(noun: str, asked: Asked) -> Document:
    """The document of `noun` ("pipelines", "graph", "reports/latency", "reports/errors", "why", "doctor", "traces", "traces/<id>")."""
    return next(iter(ask_each([noun], asked)))


def ask_each(nouns: Iterable[str], asked: Asked) -> Iterator[Document]:
    """One document a noun, the store opened once."""
    settings = load_settings(store=asked.store, url=asked.url)
    params = {key: value for key, value in asked.params.items() if value not in (None, [], ())}
    if settings.url is not None:
        for noun in nouns:
            yield _remote(settings.url, noun, params)
        return
    with open_answers(settings) as answers:
        for noun in nouns:
            yield document(answers, noun, params, jaeger_url=settings.jaeger_url)


def each_trace(asked: Asked) -> Iterator[Document]:
    """The document of every trace of a window."""
    settings = load_settings(store=asked.store, url=asked.url)
    if settings.url is None:
        params = {key: value for key, value in asked.params.items() if value is not None}
        with open_answers(settings) as answers:
            yield from (trace_document(found) for found in answers.each_trace(resolve(answers, params)))
        return
    listed = ask("traces", Asked(url=settings.url, params={**asked.params, "limit": _ALL_LIMIT}))
    yield from ask_each((f"traces/{row['trace_id']}" for row in listed["traces"]), Asked(url=settings.url))


def _remote(url: str, noun: str, params: Mapping[str, object]) -> Document:
    address = f"{url.rstrip('/')}/api/v1/{noun}"
    return remote_answer(lambda: httpx.get(address, params=params, timeout=_TIMEOUT_S), url)  # type: ignore[arg-type]


def remote_answer(send: Callable[[], httpx.Response], url: str) -> Document:
    """The document a service answers; its error raised as if it had been raised here; UnreachableError if nobody is there."""
    try:
        response = send()
        body: Any = response.json()
    except (httpx.HTTPError, httpx.InvalidURL, json.JSONDecodeError) as error:
        raise UnreachableError(f"no headwater service answers at {url}: {error}", next_command="headwater serve") from error
    if response.status_code >= 400:
        said = body if isinstance(body, Mapping) else {}
        raise error_of(str(said.get("code")), str(said.get("text", f"the service answered {response.status_code}")), said.get("next"))
    return dict(body)


def emit(value: Document, *, as_json: bool, text: str) -> None:
    """The document, or its readable form, on standard output."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n" if as_json else text.rstrip("\n") + "\n")

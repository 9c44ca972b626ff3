"""What stands before every HTTP request: which Host may ask, how large a body may be, and the headers that keep a page harmless."""

import json
from collections.abc import Iterable
from typing import Final
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
BODY_LIMIT: Final = 16 * 2**20
POLICY: Final = "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
_HEADERS: Final = (
    (b"content-security-policy", POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class Guards:
    """ASGI middleware. A foreign Host (DNS rebinding) and a write from a foreign Origin get 403; a body above BODY_LIMIT gets 413.

    What the application raises is answered with 500, the same headers and no detail, and raised on for the log.

    Names are compared without port and case. "*" in `allowed` turns the Host check off, never the Origin check.
    """

    def __init__(self, app: ASGIApp, *, allowed: Iterable[str]) -> None:
        self._app = app
        self._allowed = LOOPBACK_NAMES | {name.strip().lower() for name in allowed if name.strip()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {key.lower(): value.decode("latin-1") for key, value in scope["headers"]}
        refusal = self._refusal(scope["method"], headers)
        if refusal is not None:
            await _refuse(send, *refusal)
            return
        started = [False]
        try:
            await self._app(scope, _limited(receive), _guarded(send, started))
        except Exception:
            if not started[0]:
                await _refuse(send, 500, "internal", "this is a bug of the service; its log has the details")
            raise

    def _refusal(self, method: str, headers: dict[bytes, str]) -> tuple[int, str, str] | None:
        host = headers.get(b"host", "")
        if "*" not in self._allowed and _name_of(f"//{host}") not in self._allowed:
            return 403, "host", "this service does not answer to that Host name; add it with HEADWATER_ALLOWED_HOSTS"
        origin = headers.get(b"origin")
        if method not in _SAFE_METHODS and origin is not None and urlsplit_netloc(origin) != host.lower():
            return 403, "origin", "a page of another site may not write here"
        length = headers.get(b"content-length", "0")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            return 413, "too_large", f"the body is larger than {BODY_LIMIT} bytes; send it in parts"
        return None


def urlsplit_netloc(origin: str) -> str:
    """Host and port of an Origin; "" for "null" and what is no URL."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _name_of(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def _limited(receive: Receive) -> Receive:
    """Counts a body that names no length; beyond the limit the request looks disconnected to the reader, and nothing of it is kept."""
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        return message if seen <= BODY_LIMIT else {"type": "http.disconnect"}

    return counted


def _guarded(send: Send, started: list[bool]) -> Send:
    """Adds the headers to the first message, and notes in `started` that there was one."""

    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            started[0] = True
            present = {key.lower() for key, _ in message["headers"]}
            message["headers"] = [*message["headers"], *(pair for pair in _HEADERS if pair[0] not in present)]
        await send(message)

    return with_headers


async def _refuse(send: Send, status: int, code: str, text: str) -> None:
    body = json.dumps({"schema": "headwater.error/1", "code": code, "text": text, "next": None}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *_HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

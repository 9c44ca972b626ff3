"""A plain client over an ASGI application: no socket, no thread of its own."""

import asyncio
from typing import Any

import httpx


class Client:
    def __init__(self, app: Any, *, base_url: str) -> None:
        self._app, self._base_url = app, base_url

    def request(self, method: str, path: str, *, raising: bool = True, **said: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            transport = httpx.ASGITransport(app=self._app, raise_app_exceptions=raising)
            async with httpx.AsyncClient(transport=transport, base_url=self._base_url) as client:
                return await client.request(method, path, **said)

        return asyncio.run(ask())

    def get(self, path: str, **said: Any) -> httpx.Response:
        return self.request("GET", path, **said)

    def post(self, path: str, **said: Any) -> httpx.Response:
        return self.request("POST", path, **said)

    def delete(self, path: str, **said: Any) -> httpx.Response:
        return self.request("DELETE", path, **said)

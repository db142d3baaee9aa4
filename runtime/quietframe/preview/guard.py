"""Access control of the preview: this machine's own names, its own page, and the token."""

from __future__ import annotations

import secrets
import socket
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from quietframe.preview.connections import Tally

_OPEN_PATH = "/healthz"  # needs no token
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "same-origin",
}


class Guard:
    """Refuse requests and WebSockets that may not reach the app.

    - The Host must be a name or address of this machine: else a page elsewhere could have its own name point here
      (DNS rebinding) and read what it likes. 403.
    - What changes something, and a WebSocket, must not come from a foreign page (Origin). 403.
    - Where there is a token, it must come along: `?token=`, which is answered with a cookie, that cookie, or
      `Authorization: Bearer`. 401.

    Args:
        app: what is guarded.
        host: the name or address that was asked for.
        port: that it is bound to: cookies know no ports, so it is part of their name.
        token: None where everyone on this machine may come in.
    """

    def __init__(self, app: ASGIApp, host: str, port: int, token: str | None) -> None:
        self._app = app
        self._names = {"localhost", "127.0.0.1", "::1", host, *_own_names()}
        self._token = token
        self._cookie = f"quietframe-{port}"
        self._refused = Tally("preview: requests refused, without the token or from other sites")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a connection on to the app, or refuse it."""
        connection = HTTPConnection(scope)
        by_link = self._token is not None and self._is_token(connection.query_params.get("token"))

        async def send_with_headers(message: Message) -> None:
            if message["type"].endswith("response.start"):
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                # Other sites' pages may show the frame only with a link that holds the token.
                headers["Cross-Origin-Resource-Policy"] = "cross-origin" if by_link else "same-origin"
                if by_link:
                    headers["Set-Cookie"] = f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict"
            await send(message)

        refusal = self._refusal(connection, by_link)
        if refusal is None:
            scope["state"]["connection"].is_allowed = True
        else:
            self._refused.add()
        app = self._app if refusal is None else JSONResponse({"error": refusal[1]}, refusal[0])
        await app(scope, receive, send_with_headers)

    def _refusal(self, connection: HTTPConnection, by_link: bool) -> tuple[int, str] | None:
        """Return status and reason of a refusal; None: it may pass."""
        host = connection.headers.get("host", "")
        own_address = (connection.scope.get("server") or ("",))[0]
        if _name(host) not in {*self._names, own_address}:
            return 403, "not a name or address of this machine: open the link that quietframe printed"
        own_pages = (f"http://{host}", f"https://{host}", None)  # None: not a page
        changes = connection.scope["type"] == "websocket" or connection.scope["method"] not in ("GET", "HEAD")
        if changes and connection.headers.get("origin") not in own_pages:
            return 403, "asked for by a page of another site"
        if self._token is None or by_link or connection.scope["path"] == _OPEN_PATH:
            return None
        bearer = connection.headers.get("authorization", "").removeprefix("Bearer ")
        if not self._is_token(connection.cookies.get(self._cookie)) and not self._is_token(bearer):
            return 401, "open the link that quietframe printed when it started: the token in it is missing or old"
        return None

    def _is_token(self, given: str | None) -> bool:
        assert self._token is not None
        return given is not None and secrets.compare_digest(given.encode(), self._token.encode())


def _name(host: str) -> str | None:
    """Return the name in a Host header, without its port."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _own_names() -> set[str]:
    name = socket.gethostname().lower()
    first = name.partition(".")[0]
    return {name, first, f"{first}.local"}

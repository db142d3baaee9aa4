"""The preview's addresses. Imported when the server starts: they need the extra `serve`."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from importlib.resources import files
from typing import Any

from anyio import create_task_group
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from quietframe.controls import MAX_STRENGTH, Controls, Settings
from quietframe.errors import UsageError
from quietframe.preview.frames import Bell, Form, Pair, Stream
from quietframe.preview.metrics import METRICS_TYPE, metrics_text

MAX_CLIENTS = 8
MAX_FPS = 30
MAX_WALL_FPS = 5  # of each stream
MAX_BODY_BYTES = 1024
MAX_BODY_S = 5
MAX_CHANGES_PER_S = 30

_IN_FLIGHT = 2  # frames on their way to a page: one is drawn while the next one travels
_STATE_PERIOD_S = 1.0
_STATS_AGE_S = 0.5  # younger figures are sent again: many clients cost the loop no more than one
_BOUNDARY = "frame"
_NO_CONTROLS = Controls(Settings(), ())  # of a pipeline that has not begun
_GONE = WebSocketDisconnect, RuntimeError
"""What sending raises when the client has gone; the second where uvicorn closed the connection, for no UTF-8."""
_ASSETS = {
    "/preview.css": ("preview.css", "text/css"),
    "/preview.js": ("preview.js", "text/javascript"),
    "/connection.js": ("connection.js", "text/javascript"),
    "/wall.js": ("wall.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}


class App:
    """Serve the pages and addresses of streams, the wall of all, and metrics.

    Args:
        streams: what is served.
        health: the machine's figures.
        wall: show the wall at `/`, and each stream below `/camera/NAME/`; else the only stream is at `/`.
    """

    def __init__(self, streams: Sequence[Stream], health: Callable[[], Mapping[str, Any]], *, wall: bool) -> None:
        self._health = health
        self._latest_health: Mapping[str, Any] = {}
        self._health_s = -_STATS_AGE_S
        self._wall = wall
        self._channels = [Channel(stream, self, f"/camera/{stream.name}" if wall else "") for stream in streams]
        self._max_clients = MAX_CLIENTS + 2 * (len(streams) - 1)
        self.clients = 0

    def starlette(self) -> Starlette:
        """Return the app with its routes."""
        routes: list[Route | WebSocketRoute] = [
            *(Route(path, _file(*what)) for path, what in _ASSETS.items()),
            Route("/metrics", self._metrics),
            Route("/healthz", _health),
        ]
        for channel in self._channels:
            routes += channel.routes()
        if self._wall:
            routes += [
                Route("/", _file("wall.html", "text/html")),
                Route("/stats.json", self._stats_json),
                WebSocketRoute("/live", self._live),
            ]
        return Starlette(routes=routes, exception_handlers={HTTPException: _error})

    @contextmanager
    def place(self, scope: Scope) -> Iterator[None]:
        """Take one of the places for clients that stay. Raises HTTPException when there is none."""
        if self.clients >= self._max_clients:
            raise HTTPException(503, f"{self._max_clients} clients watch already: close one", {"Retry-After": "5"})
        self.clients += 1
        scope["state"]["connection"].has_place = True
        try:
            yield
        finally:
            self.clients -= 1

    def health(self) -> Mapping[str, Any]:
        """Return the machine's figures, at most half a second old."""
        now_s = time.monotonic()
        if now_s - self._health_s >= _STATS_AGE_S:
            self._latest_health, self._health_s = self._health(), now_s
        return self._latest_health

    async def _live(self, socket: WebSocket) -> None:
        """Send the wall: as text the state of all, each second; as binary messages a stream's number and its JPEG."""
        channels = [partial(self._send_tiles, number, channel) for number, channel in enumerate(self._channels)]
        await _serve_page(self, socket, [*channels, self._send_states], len(channels) + 1)

    async def _send_tiles(self, number: int, channel: Channel, socket: WebSocket, credit: asyncio.Semaphore) -> None:
        with suppress(*_GONE):
            async for _, jpeg in channel.newest("tile", credit, max_fps=MAX_WALL_FPS):
                await socket.send_bytes(struct.pack(">I", number) + jpeg)

    async def _send_states(self, socket: WebSocket, _credit: asyncio.Semaphore) -> None:
        with suppress(*_GONE):
            while True:
                await socket.send_text(json.dumps(self._states(), allow_nan=False))
                await asyncio.sleep(_STATE_PERIOD_S)

    def _states(self) -> Mapping[str, Any]:
        return {"cameras": [channel.state() for channel in self._channels]}

    async def _stats_json(self, request: Request) -> Response:
        return JSONResponse(self._states())

    async def _metrics(self, request: Request) -> Response:
        states = {channel.name: channel.state() for channel in self._channels}
        return Response(metrics_text(states), media_type=METRICS_TYPE)


class Channel:
    """Serve one stream: its page, the page's WebSocket, and addresses for other programs.

    `live` is the page's WebSocket. The server sends the state as text, each second and when it changes, and frames
    as binary messages (`Pair.message`); the page answers `shown` to each frame, and at most two are on their way.
    `POST controls` takes a JSON object with any of strength, model and paused.

    Args:
        stream: what is served.
        app: whose places its clients take.
        path: of its addresses, without the slash at its end; with one, the state names the camera, as one of several.
    """

    def __init__(self, stream: Stream, app: App, path: str) -> None:
        self.name = stream.name
        self._stream, self._frames, self._app, self._path = stream, stream.frames, app, path
        self._latest_stats: Mapping[str, Any] = {}
        self._stats_s = -_STATS_AGE_S
        self._changed = Bell()
        self._changes_s: deque[float] = deque(maxlen=MAX_CHANGES_PER_S)

    def routes(self) -> list[Route | WebSocketRoute]:
        """Return the stream's addresses."""
        return [
            Route(f"{self._path}/", _file("index.html", "text/html")),
            WebSocketRoute(f"{self._path}/live", self._live),
            Route(f"{self._path}/controls", self._control, methods=["POST"]),
            Route(f"{self._path}/stats.json", self._stats_json),
            Route(f"{self._path}/snapshot.jpg", self._snapshot_jpg),
            Route(f"{self._path}/snapshot.zip", self._snapshot_zip),
            Route(f"{self._path}/stream.mjpg", self._stream_mjpg),
        ]

    async def _live(self, socket: WebSocket) -> None:
        await _serve_page(self._app, socket, [self._send_frames, self._send_state], _IN_FLIGHT)

    async def _send_frames(self, socket: WebSocket, credit: asyncio.Semaphore) -> None:
        with suppress(*_GONE):
            async for _, message in self.newest("message", credit):
                await socket.send_bytes(message)

    async def _send_state(self, socket: WebSocket, _credit: asyncio.Semaphore) -> None:
        with suppress(*_GONE):
            while True:
                await socket.send_text(json.dumps(self.state(), allow_nan=False))
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), _STATE_PERIOD_S)

    async def newest(
        self, form: Form, credit: asyncio.Semaphore | None = None, *, max_fps: float = MAX_FPS
    ) -> AsyncIterator[tuple[Pair, bytes]]:
        """Yield the newest pair each time, none twice, at most `max_fps` a second; with `credit`, one for each."""
        pair: Pair | None = None
        due_s = 0.0
        while True:
            if credit is not None:
                await credit.acquire()
            if not await self._frames.newer(pair):
                return
            pair, encoded = await self._frames.encoded(form)
            yield pair, encoded
            now_s = time.monotonic()
            due_s = max(due_s + 1 / max_fps, now_s)  # a frame that was late does not delay the next one
            await asyncio.sleep(due_s - now_s)

    async def _control(self, request: Request) -> Response:
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise HTTPException(415, "Expected the content type application/json")
        body = b""
        try:
            async with asyncio.timeout(MAX_BODY_S):
                async for part in request.stream():
                    body += part
                    if len(body) > MAX_BODY_BYTES:
                        raise HTTPException(413, f"Expected at most {MAX_BODY_BYTES} bytes")
        except TimeoutError as exc:
            raise HTTPException(408, f"Expected the request within {MAX_BODY_S} s", {"Connection": "close"}) from exc
        except ClientDisconnect as exc:
            raise HTTPException(400, "the request broke off") from exc
        now_s = time.monotonic()
        if len(self._changes_s) == MAX_CHANGES_PER_S and now_s - self._changes_s[0] < 1:
            raise HTTPException(429, f"Expected at most {MAX_CHANGES_PER_S} changes a second", {"Retry-After": "1"})
        if self._stream.controls is None:
            raise HTTPException(503, "the camera has not begun yet", {"Retry-After": "1"})
        try:
            settings = self._stream.controls.change(**_changes(body))
        except UsageError as exc:
            raise HTTPException(400, str(exc)) from exc
        self._changes_s.append(now_s)
        self._changed.ring()
        return JSONResponse(asdict(settings))

    async def _stats_json(self, request: Request) -> Response:
        return JSONResponse(self.state())

    async def _snapshot_jpg(self, request: Request) -> Response:
        _, jpeg = await self._snapshot("after_jpeg")
        return Response(jpeg, media_type="image/jpeg")

    async def _snapshot_zip(self, request: Request) -> Response:
        pair, pngs = await self._snapshot("png_pair")
        headers = {"Content-Disposition": f'attachment; filename="quietframe-{pair.index:06d}.zip"'}
        return Response(pngs, media_type="application/zip", headers=headers)

    async def _snapshot(self, form: Form) -> tuple[Pair, bytes]:
        if self._frames.newest is None:
            raise HTTPException(503, "no frame has come yet", {"Retry-After": "1"})
        return await self._frames.encoded(form)

    async def _stream_mjpg(self, request: Request) -> Response:
        """Answer with Motion JPEG: a part for each frame, without an end."""
        media_type = f"multipart/x-mixed-replace; boundary={_BOUNDARY}"
        if request.method == "HEAD":
            return Response(media_type=media_type)

        async def parts() -> AsyncIterator[bytes]:
            async for pair, jpeg in self.newest("after_jpeg"):
                size = f"Content-Length: {len(jpeg)}\r\nX-Frame: {pair.index}"
                yield f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\n{size}\r\n\r\n".encode() + jpeg + b"\r\n"

        return _Stay(self._app.place(request.scope), parts(), media_type=media_type)

    def state(self) -> Mapping[str, Any]:
        """Return figures, settings and what may be chosen."""
        now_s = time.monotonic()
        if now_s - self._stats_s >= _STATS_AGE_S:
            self._latest_stats, self._stats_s = {**self._app.health(), **self._stream.record()}, now_s
        controls = self._stream.controls or _NO_CONTROLS
        settings = {"settings": asdict(controls.settings), "models": controls.models}
        name = {"camera": self.name} if self._path else {}
        return {**name, **self._latest_stats, **settings, "max_strength": MAX_STRENGTH, "clients": self._app.clients}


class _Stay(StreamingResponse):
    """Stream an answer without an end, which takes a place."""

    def __init__(self, place: AbstractContextManager[None], *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


async def _serve_page(
    app: App,
    socket: WebSocket,
    senders: Sequence[Callable[[WebSocket, asyncio.Semaphore], Coroutine[Any, Any, None]]],
    in_flight: int,
) -> None:
    """Serve a page's WebSocket: each sender sends on its own, with so many frames in flight, until the page leaves."""
    try:
        with app.place(socket.scope):
            await socket.accept()
            credit = asyncio.BoundedSemaphore(in_flight)
            async with create_task_group() as group:
                for sender in senders:
                    group.start_soon(sender, socket, credit)
                polite = await _take_answers(socket, credit)
                group.cancel_scope.cancel()
            if not polite:
                await socket.close(1008, "expected: shown, once for each frame")
    except HTTPException as exc:
        await socket.send_denial_response(_error(socket, exc))


async def _take_answers(socket: WebSocket, credit: asyncio.BoundedSemaphore) -> bool:
    """Receive until the page leaves. Returns False if it sent what it may not."""
    while (message := await socket.receive())["type"] == "websocket.receive":
        try:
            if message.get("text") != "shown":
                return False
            credit.release()
        except ValueError:  # more often than there were frames
            return False
    return True


def _changes(body: bytes) -> dict[str, Any]:
    """Parse the changes in a request's body; `Controls` validates their values. Raises UsageError."""
    try:
        changes = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise UsageError("Expected a JSON object") from exc
    known = ("strength", "model", "paused")
    if not isinstance(changes, dict) or not changes or None in changes.values() or not changes.keys() <= set(known):
        raise UsageError(f"Expected a JSON object with any of {', '.join(known)}. Received: {changes!r}")
    return changes


def _file(name: str, media_type: str) -> Callable[[Request], Response]:
    content = files(__package__).joinpath("page", name).read_bytes()
    return lambda request: Response(content, media_type=media_type)


async def _health(request: Request) -> Response:
    return JSONResponse({"ok": True})


def _error(connection: Any, exc: Exception) -> Response:
    assert isinstance(exc, HTTPException)
    return JSONResponse({"error": exc.detail}, exc.status_code, exc.headers)

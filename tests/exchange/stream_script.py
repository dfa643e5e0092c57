"""A real WebSocket server on loopback that does as told: for streams no sound exchange would be."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application
from tornado.websocket import WebSocketClosedError, WebSocketHandler

STARTED_WITHIN_S = 5.0


@dataclass(slots=True)
class StreamScript:
    """What the server says; it answers requests soundly unless told to be silent."""

    url: str = ""
    permissions: list[str] = field(default_factory=list)
    silent: bool = False
    """Half open: frames come in, none go out."""
    odd: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """By method: what is in an answer in place of a sound one, one after the other."""
    heard: list[dict[str, Any]] = field(default_factory=list)
    connections: int = 0
    pongs: int = 0
    say: Callable[[str | bytes], None] = lambda _: None
    """Sends a frame to every connection; like the next two it may be called by any thread."""
    ping: Callable[[], None] = lambda: None
    close: Callable[[int, str], None] = lambda _code, _reason: None

    def answer_to(self, request: dict[str, Any]) -> object:
        params = request.get("params", {})
        answers = {
            "authenticate": {"authenticated": True, "permissions": self.permissions},
            "subscribe": {"subscribed": params.get("topics")},
            "ping": "pong",
            "time": {"time": time.time_ns() // 1_000_000},
        }
        return answers[request["method"]]


@contextmanager
def scripted_stream() -> Iterator[StreamScript]:
    script, started, stop = StreamScript(), threading.Event(), threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(_serve(script, started, stop)), daemon=True)
    thread.start()
    assert started.wait(STARTED_WITHIN_S)
    try:
        yield script
    finally:
        stop.set()
        thread.join(STARTED_WITHIN_S)


async def _serve(script: StreamScript, started: threading.Event, stop: threading.Event) -> None:
    doors: list[_Door] = []
    loop = asyncio.get_running_loop()
    sockets = bind_sockets(0, "127.0.0.1")
    server = HTTPServer(Application([(r"/v1", _Door, {"script": script, "doors": doors})]))
    server.add_sockets(sockets)

    def each(call: Callable[[_Door], object]) -> None:
        for door in doors:
            loop.call_soon_threadsafe(call, door)

    script.say = lambda frame: each(lambda door: door.push(frame))
    script.ping = lambda: each(lambda door: door.ping(b""))
    script.close = lambda code, reason: each(lambda door: door.close(code, reason))
    script.url = f"ws://127.0.0.1:{sockets[0].getsockname()[1]}"
    started.set()
    while not stop.is_set():
        await asyncio.sleep(0.01)
    for door in doors:
        door.close()
    server.stop()
    await server.close_all_connections()


class _Door(WebSocketHandler):
    def initialize(self, script: StreamScript, doors: list["_Door"]) -> None:
        self._script = script
        self._doors = doors

    def open(self, *_args: str, **_kwargs: str) -> None:
        self._script.connections += 1
        self._doors.append(self)

    def on_message(self, message: str | bytes) -> None:
        request = json.loads(message)
        self._script.heard.append(request)
        if not self._script.silent:
            odd = self._script.odd.get(request["method"])
            said = odd.pop(0) if odd else {"result": self._script.answer_to(request)}
            self.push(json.dumps({"jsonrpc": "2.0", "id": request["id"], **said}))

    def on_pong(self, data: bytes) -> None:  # noqa: ARG002 - tornado's own signature
        self._script.pongs += 1

    def on_close(self) -> None:
        if self in self._doors:
            self._doors.remove(self)

    def push(self, frame: str | bytes) -> None:
        with suppress(WebSocketClosedError):
            self.write_message(frame, binary=isinstance(frame, bytes))

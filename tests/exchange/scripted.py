"""A real HTTP server on loopback that answers by script: for answers no sound exchange would give."""

import json
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from exchange.config import Endpoints


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one request gets. `cut`: the connection is closed instead of answering."""

    status: int = 200
    content: str = "{}"
    headers: Mapping[str, str] = field(default_factory=dict)
    delay_s: float = 0.0
    cut: bool = False
    drip_s: float = 0.0
    """Pause after each byte of the content."""
    missing: int = 0
    """How many bytes more the header promises than come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request as it came over the wire."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: str
    connection: tuple[str, int]
    at_s: float = field(default_factory=time.monotonic)


@dataclass(slots=True)
class Script:
    """Answers to come, and what was asked; the clock endpoint is answered by itself."""

    endpoints: Endpoints = field(default_factory=lambda: Endpoints(api_url="", stream_url=""))
    answers: deque[Answer] = field(default_factory=deque)
    requests: list[Request] = field(default_factory=list)
    clock_ahead_s: float = 0.0
    clock_reads: int = 0
    clock_is_out: bool = False

    def then(self, *answers: Answer) -> None:
        self.answers.extend(answers)

    def answer_to(self, request: Request) -> Answer:
        if request.target == "/v3/time":
            self.clock_reads += 1
            if self.clock_is_out:
                return Answer(status=500)
            seconds = time.time() + self.clock_ahead_s
            stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
            return Answer(content=json.dumps({"time": f"{stamp}.{int(seconds % 1 * 1000):03d}Z"}))
        self.requests.append(request)
        return self.answers.popleft()


@contextmanager
def scripted_exchange() -> Iterator[Script]:
    script = Script()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _door(script))
    script.endpoints = Endpoints(api_url=f"http://127.0.0.1:{server.server_address[1]}", stream_url="")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _door(script: Script) -> type[BaseHTTPRequestHandler]:
    class Door(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log_message(self, *args: object) -> None:
            pass

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            answer = script.answer_to(
                Request(
                    method=self.command,
                    target=self.path,
                    headers=dict(self.headers),
                    body=body,
                    connection=self.client_address,
                )
            )
            time.sleep(answer.delay_s)
            if answer.cut:
                self.close_connection = True
                return
            content = answer.content.encode()
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content) + answer.missing))
            with suppress(ConnectionError):  # whoever asked may have lost patience
                self.end_headers()
                self._write(content, answer.drip_s)
            self.close_connection |= answer.missing > 0

        def _write(self, content: bytes, drip_s: float) -> None:
            if not drip_s:
                self.wfile.write(content)
                return
            for position in range(len(content)):
                self.wfile.write(content[position : position + 1])
                time.sleep(drip_s)

        do_GET = do_POST = do_PUT = do_DELETE = answer  # noqa: N815 - the base class looks for these

    return Door

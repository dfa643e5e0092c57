"""A proxy between us and the exchange: one setting, and both ways to it obey."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace

import pytest

from exchange import proxies
from exchange.config import Endpoints
from exchange.errors import KeyRefusedError, OperatorNeededError, TransientError
from exchange.line import Bell, Line
from exchange.rest import RestClient
from exchange.serverclock import ServerClock
from exchange.simulator.running import Simulator
from tests.exchange.places import endpoints_of
from tests.exchange.unlimited import Unlimited

HOST = "exchange.example"
"""Known to the proxy alone."""
PROOF = "Proxy-Authorization: Basic dXM6aHVudGVyMg=="


@dataclass
class Proxy:
    port: int
    refuses: bool = False
    asked: list[str] = field(default_factory=list)
    """What came until the first empty line, for each connection."""

    @property
    def url(self) -> str:
        return f"http://us:hunter2@127.0.0.1:{self.port}"


@contextmanager
def a_proxy(*, refuses: bool = False) -> Iterator[Proxy]:
    """Run one that takes CONNECT, or a whole URL, and knows one host: this machine."""
    listening = socket.create_server(("127.0.0.1", 0))
    proxy = Proxy(port=listening.getsockname()[1], refuses=refuses)

    def accept() -> None:
        with suppress(OSError):
            while True:
                near, _ = listening.accept()
                threading.Thread(target=serve, args=(proxy, near), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(5)


def serve(proxy: Proxy, near: socket.socket) -> None:
    head = b""
    while b"\r\n\r\n" not in head and (piece := near.recv(65_536)):
        head += piece
    proxy.asked.append(head.decode())
    with near:
        if proxy.refuses:
            near.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        else:
            forward(head, near)


def forward(head: bytes, near: socket.socket) -> None:
    method, target, _ = head.decode().split(" ", 2)
    port = int(target.removeprefix("http://").partition("/")[0].rpartition(":")[2])
    with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as far:
        if method == "CONNECT":
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            far.sendall(head.replace(f"http://{HOST}:{port}".encode(), b"", 1))
        back = threading.Thread(target=copy, args=(far, near), daemon=True)
        back.start()
        copy(near, far)
        back.join(5)


def copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def elsewhere(venue: Simulator, proxy: Proxy) -> Endpoints:
    """Return the paper exchange as it would be on another machine."""
    here = endpoints_of(venue)
    return replace(
        here,
        api_url=here.api_url.replace("127.0.0.1", HOST),
        stream_url=here.stream_url.replace("127.0.0.1", HOST),
        proxy=proxy.url,
    )


def read(endpoints: Endpoints) -> None:
    client = RestClient(endpoints, None, limiter=Unlimited(), server_clock=ServerClock())
    client.time()


def listen(endpoints: Endpoints) -> None:
    with (
        closing(Bell()) as bell,
        Line(
            f"{endpoints.stream_url}/v1",
            connect_s=3,
            bell=bell,
            ca_file=endpoints.ca_file,
            proxy=endpoints.proxy,
        ) as line,
    ):
        line.send('{"jsonrpc":"2.0","id":1,"method":"ping"}')
        assert b"pong" in (line.receive(5) or b"")


Reach = Callable[[Endpoints], None]
BOTH = pytest.mark.parametrize("reach", [read, listen])


@BOTH
def test_another_machine_is_reached_by_the_proxy(reach: Reach) -> None:
    with Simulator() as venue, a_proxy() as proxy:
        reach(elsewhere(venue, proxy))

    (asked,) = proxy.asked
    assert HOST in asked
    assert PROOF.lower() in asked.lower()


@BOTH
def test_this_machine_is_never_reached_by_it(reach: Reach) -> None:
    with Simulator() as venue, a_proxy(refuses=True) as proxy:
        reach(replace(endpoints_of(venue), proxy=proxy.url))

    assert proxy.asked == []


@BOTH
@pytest.mark.parametrize("name", ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"])
def test_proxies_of_the_environment_are_not_asked(
    reach: Reach, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Simulator() as venue, a_proxy() as proxy:
        monkeypatch.setenv(name, proxy.url)
        with pytest.raises(TransientError, match="cannot be reached"):
            reach(replace(elsewhere(venue, proxy), proxy=None))

    assert proxy.asked == []


@BOTH
def test_a_proxy_that_refuses_is_a_failure_that_passes_and_shows_no_password(reach: Reach) -> None:
    with Simulator() as venue, a_proxy(refuses=True) as proxy:
        endpoints = elsewhere(venue, proxy)
        with pytest.raises((TransientError, OperatorNeededError)) as refused:
            reach(endpoints)

    assert not isinstance(refused.value, KeyRefusedError)
    assert "hunter2" not in f"{refused.value} {endpoints!r}"


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
        ("a.localhost", True), ("localhost.example", False), ("10.0.0.1", False),
    ],
)  # fmt: skip
def test_what_this_machine_is(host: str, *, here: bool) -> None:
    assert proxies.between("http://p:1", host) == (None if here else "http://p:1")


@BOTH
def test_by_tls_the_proxy_sees_nothing(reach: Reach) -> None:
    with Simulator(tls=True) as venue, a_proxy() as proxy:
        endpoints = elsewhere(venue, proxy)
        with pytest.raises(TransientError):  # the certificate is for this machine alone
            reach(endpoints)

    assert proxy.asked
    assert all(asked.startswith(f"CONNECT {HOST}:") for asked in proxy.asked)

import base64
import hashlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from exchange.errors import TransientError
from exchange.line import Bell, Line
from exchange.simulator.certificate import Certificate
from tests.waiting import wait_until

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@pytest.fixture
def bell() -> Iterator[Bell]:
    bell = Bell()
    yield bell
    bell.close()


class OtherEnd:
    """The far end of one WebSocket connection, byte by byte in the hand of the test."""

    def __init__(self, listening: socket.socket, tls: ssl.SSLContext | None) -> None:
        self._listening = listening
        self._tls = tls
        self.url = f"{'wss' if tls else 'ws'}://127.0.0.1:{listening.getsockname()[1]}/v1"
        self._opened = threading.Event()
        self._thread = threading.Thread(target=self._open, daemon=True)
        self._thread.start()

    def send(self, content: bytes) -> None:
        assert self._opened.wait(5)
        self._socket.sendall(content)

    def close(self) -> None:
        self._thread.join(5)
        self._socket.close()

    def _open(self) -> None:
        self._socket, _ = self._listening.accept()
        if self._tls:
            self._socket = self._tls.wrap_socket(self._socket, server_side=True)
        request = b""
        while b"\r\n\r\n" not in request:
            request += self._socket.recv(4096)
        key = request.split(b"Sec-WebSocket-Key: ")[1].split(b"\r\n")[0].decode()
        accept = base64.b64encode(hashlib.sha1(f"{key}{GUID}".encode()).digest()).decode()  # noqa: S324 - RFC 6455
        self._socket.sendall(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Accept: {accept}\r\n\r\n".encode()
        )
        self._opened.set()


@contextmanager
def other_end(tls: ssl.SSLContext | None = None) -> Iterator[OtherEnd]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        end = OtherEnd(listening, tls)
        yield end
        end.close()


def text_frame(text: str) -> bytes:
    return bytes([0x81, len(text)]) + text.encode()


def test_a_frame_that_comes_in_pieces_is_put_together(bell: Bell) -> None:
    with other_end() as end, Line(end.url, connect_s=2, bell=bell) as line:
        frame = text_frame("hello")
        end.send(frame[:4])
        assert line.receive(1) is None
        end.send(frame[4:])
        assert line.receive(1) == b"hello"


@pytest.fixture
def certificate() -> Iterator[Certificate]:
    certificate = Certificate("127.0.0.1")
    yield certificate
    certificate.remove()


def test_frames_that_come_in_one_piece_of_tls_are_all_heard(
    bell: Bell, certificate: Certificate
) -> None:
    with (
        other_end(certificate.context()) as end,
        Line(end.url, connect_s=2, bell=bell, ca_file=str(certificate.path)) as line,
    ):
        end.send(text_frame("one") + text_frame("two") + text_frame("three"))
        assert [line.receive(1) for _ in range(3)] == [b"one", b"two", b"three"]
        assert line.receive(0.01) is None


def test_ringing_the_bell_ends_the_wait(bell: Bell) -> None:
    with other_end() as end, Line(end.url, connect_s=2, bell=bell) as line:
        threading.Timer(0.05, bell.ring).start()
        assert line.receive(10) is None


def test_sending_into_a_closed_connection_is_told(bell: Bell) -> None:
    with other_end() as end, Line(end.url, connect_s=2, bell=bell) as line:
        end.close()

        def refused() -> bool:
            try:
                line.send("x")
            except TransientError as error:
                return "was lost" in str(error)
            return False

        wait_until(refused, what="the loss is noticed")


def test_a_bell_may_be_rung_when_nobody_listens_any_more(bell: Bell) -> None:
    for _ in range(100_000):
        bell.ring()
    bell.close()
    bell.ring()

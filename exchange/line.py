"""One WebSocket connection with a bell: frames in and out, on `websocket-client`."""

import selectors
import socket
from contextlib import suppress
from typing import Final, Self
from urllib.parse import urlsplit

from websocket import ABNF, WebSocket, WebSocketException, WebSocketTimeoutException

from exchange import proxies
from exchange.errors import TransientError
from exchange.trust import trusting

_PATIENCE_S: Final = 1.0
"""For the rest of a frame that has begun to come, and for a frame of ours to leave."""


class Bell:
    """Wakes whoever waits in `Line.receive`; may be rung by any thread."""

    def __init__(self) -> None:
        self.heard, self._rung = socket.socketpair()
        self.heard.settimeout(0)
        self._rung.settimeout(0)

    def ring(self) -> None:
        with suppress(OSError):  # full: it rings already; closed: nobody waits any more
            self._rung.send(b"!")

    def silence(self) -> None:
        with suppress(BlockingIOError):
            self.heard.recv(4096)

    def close(self) -> None:
        self.heard.close()
        self._rung.close()


class Line:
    """One connection, used by one thread; every failure is a TransientError.

    Args:
        url: of the stream, `ws://` or `wss://`.
        ca_file: certificates to trust in place of the system's.
        proxy: by which other machines are reached.
    """

    def __init__(
        self,
        url: str,
        *,
        connect_s: float,
        bell: Bell,
        ca_file: str | None = None,
        proxy: str | None = None,
    ) -> None:
        self._url = url
        self._bell = bell
        self._websocket = _dialled(url, connect_s, ca_file, proxy)
        self._websocket.settimeout(_PATIENCE_S)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._websocket, selectors.EVENT_READ)
        self._selector.register(bell.heard, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._selector.close()
        self._websocket.close(timeout=0)
        # `close` does nothing where the other side closed first.
        self._websocket.shutdown()  # type: ignore[no-untyped-call]  # the library has half its types

    def send(self, text: str) -> None:
        try:
            self._websocket.send(text)
        except (WebSocketException, OSError) as error:
            raise self._lost(error) from error

    def receive(self, timeout_s: float) -> bytes | None:
        """Return the next message, b"" for a control frame; None when time is up or the bell rang."""
        if not self._something_came(timeout_s):
            return None
        try:
            opcode, frame = self._websocket.recv_data_frame(control_frame=True)
        except WebSocketTimeoutException:
            return None  # part of a frame: the library keeps it and goes on with the next call
        except (WebSocketException, OSError) as error:
            raise self._lost(error) from error
        if opcode == ABNF.OPCODE_CLOSE:
            raise TransientError(f"{self._url} closed the connection{_reason(frame.data)}")
        data: bytes = frame.data
        return data if opcode in {ABNF.OPCODE_TEXT, ABNF.OPCODE_BINARY} else b""

    def _something_came(self, timeout_s: float) -> bool:
        held = getattr(self._websocket.sock, "pending", None)
        if held is not None and held():  # TLS has decrypted more than was asked for
            return True
        ready = {key.fileobj for key, _ in self._selector.select(max(timeout_s, 0.0))}
        if self._bell.heard in ready:
            self._bell.silence()
        return self._websocket in ready

    def _lost(self, error: Exception) -> TransientError:
        return TransientError(f"{self._url} was lost: {str(error) or type(error).__name__}")


def _dialled(url: str, connect_s: float, ca_file: str | None, proxy: str | None) -> WebSocket:
    """Return an open connection, dialled here: the library would obey proxies of the environment."""
    parts = urlsplit(url)
    secure = parts.scheme == "wss"
    host = parts.hostname or ""
    # The frames are checked as JSON anyway; checking UTF-8 in Python costs more than all else.
    websocket = WebSocket(enable_multithread=False, skip_utf8_validation=True)
    try:
        port = parts.port or (443 if secure else 80)
        if (way := proxies.between(proxy, host)) is None:
            raw = socket.create_connection((host, port), connect_s)
        else:
            raw = proxies.tunnel(way, host, port, timeout_s=connect_s)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            if secure:
                raw = trusting(ca_file).wrap_socket(raw, server_hostname=host)
            websocket.connect(  # type: ignore[no-untyped-call]  # the library has half its types
                url, socket=raw, timeout=connect_s, redirect_limit=0, suppress_origin=True
            )
        except BaseException:
            raw.close()
            raise
    except (WebSocketException, OSError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise TransientError(f"{url} cannot be reached: {why}") from error
    return websocket


def _reason(data: bytes) -> str:
    if len(data) < 2:
        return ""
    code = int.from_bytes(data[:2], "big")
    return f" ({code} {data[2:].decode(errors='replace')})".replace(" )", ")")

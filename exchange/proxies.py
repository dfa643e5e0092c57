"""The proxy between us and the exchange: one for REST and stream, and none before this machine."""

import ipaddress
import socket
from http.client import HTTPConnection, HTTPException
from urllib.parse import unquote, urlsplit

from urllib3.util import make_headers

_USUAL_PORT = 3128


def between(proxy: str | None, host: str) -> str | None:
    """Return the proxy by which a host is reached; None: there is none, or it is this machine."""
    try:
        here = ipaddress.ip_address(host).is_loopback
    except ValueError:
        here = host == "localhost" or host.endswith(".localhost")
    return None if here else proxy


def headers(proxy: str) -> dict[str, str]:
    """Return what proves to the proxy who we are, where its URL says that."""
    at = urlsplit(proxy)
    if at.username is None:
        return {}
    owner = f"{unquote(at.username)}:{unquote(at.password or '')}"
    return dict(make_headers(proxy_basic_auth=owner))


def tunnel(proxy: str, host: str, port: int, *, timeout_s: float) -> socket.socket:
    """Return a connection to a host and port, by the proxy's CONNECT.

    Raises:
        OSError: there is none.
    """
    at = urlsplit(proxy)
    way = HTTPConnection(at.hostname or "", at.port or _USUAL_PORT, timeout=timeout_s)
    way.set_tunnel(host, port, headers(proxy))
    try:
        way.connect()
    except HTTPException as error:
        way.close()
        raise ConnectionError(f"the proxy did not answer as one ({type(error).__name__})") from error
    assert way.sock is not None
    sock: socket.socket = way.sock
    return sock

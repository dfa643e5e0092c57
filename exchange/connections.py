"""Connections to one exchange, kept alive for all who talk to it."""

import time
from functools import cache
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

from exchange.config import Endpoints, Timeouts

_KEPT: Final = 64
"""More than threads that ask at the same time; one beyond them is closed after its answer."""


class Connections:
    """Sends requests of many keys over few connections: who is read rarely need not dial each time.

    May be called from several threads; a request has its connection to itself until its answer is read.
    """

    def __init__(self, endpoints: Endpoints, *, idle_s: float) -> None:
        """Keep a connection for `idle_s` seconds without use."""
        self._session = requests.Session()
        # No proxy, netrc or certificate of the environment: what is signed goes to the address given.
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        if endpoints.ca_file is not None:
            self._session.verify = endpoints.ca_file
        adapter = _Adapter(idle_s)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def send(self, request: requests.PreparedRequest, timeouts: Timeouts) -> requests.Response:
        """Return the answer, its body still to be read; to be closed by the caller.

        Raises:
            exchange.failures.NETWORK_FAILURES
        """
        return self._session.send(
            request,
            timeout=(timeouts.connect_s, timeouts.read_s),
            allow_redirects=False,
            stream=True,
        )

    def close(self) -> None:
        self._session.close()


class _Adapter(HTTPAdapter):
    """Keeps connections alive, and dials anew in place of one that was idle for `idle_s`."""

    def __init__(self, idle_s: float) -> None:
        self._idle_s = idle_s
        super().__init__(pool_connections=2, pool_maxsize=_KEPT, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._idle_s)


@cache
def _pools(idle_s: float) -> dict[str, type[HTTPConnectionPool]]:
    class Connection(HTTPConnection):
        used_at = float("-inf")

        def getresponse(self) -> HTTPResponse:  # type: ignore[override]  # as urllib3 itself does
            response = super().getresponse()
            self.used_at = time.monotonic()
            return response

        @property
        def is_connected(self) -> bool:
            return super().is_connected and time.monotonic() - self.used_at < idle_s

    class TlsConnection(Connection, HTTPSConnection):
        pass

    class Pool(HTTPConnectionPool):
        ConnectionCls = Connection

    class TlsPool(HTTPSConnectionPool):
        ConnectionCls = TlsConnection

    return {"http": Pool, "https": TlsPool}

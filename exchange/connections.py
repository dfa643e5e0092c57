"""Connections to one exchange, kept alive for all who talk to it."""

import ssl
import time
from collections.abc import Mapping
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.structures import CaseInsensitiveDict
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import ConnectionPool, HTTPConnectionPool, HTTPSConnectionPool
from urllib3.response import HTTPResponse

from exchange import proxies
from exchange.config import Endpoints, Timeouts
from exchange.trust import trusting

_KEPT: Final = 64
"""More than threads that ask at the same time; one beyond them is closed after its answer."""


class Connections:
    """Sends requests of many keys over few connections: who is read rarely need not dial each time.

    May be called from several threads; a request has its connection to itself until its answer is read.
    """

    def __init__(self, endpoints: Endpoints, *, idle_s: float) -> None:
        """Keep a connection for `idle_s` seconds without use."""
        self.address = endpoints.api_url.rstrip("/")
        self._verify = endpoints.ca_file or True
        trusted = trusting(endpoints.ca_file) if self.address.startswith("https:") else None
        proxy = proxies.between(endpoints.proxy, urlsplit(self.address).hostname or "")
        self._proxies = {"http": proxy, "https": proxy} if proxy else {}
        # A proxy that sees the request itself, for the address is no https, is told here who we are.
        self._headers = proxies.headers(proxy) if proxy and trusted is None else {}
        # Without a session around it: no proxy, netrc or certificate of the environment, no cookie and
        # no redirect. What is signed goes to the address given.
        self._adapter = _Adapter(self.address, idle_s, trusted)

    def send(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str],
        body: bytes | None,
        timeouts: Timeouts,
    ) -> requests.Response:
        """Return the answer, status and `raw` alone, its body still to be read; the caller closes it.

        `target` is path and query; it is sent as it is.

        Raises:
            exchange.failures.NETWORK_FAILURES
        """
        request = requests.PreparedRequest()
        request.method, request.url, request.body = method, f"{self.address}{target}", body
        request.headers = CaseInsensitiveDict({**headers, **self._headers})
        if body is not None:
            request.headers["Content-Length"] = str(len(body))
        return self._adapter.send(
            request,
            timeout=(timeouts.connect_s, timeouts.read_s),
            verify=self._verify,
            stream=True,
            proxies=self._proxies,
        )

    def close(self) -> None:
        self._adapter.close()


class _Adapter(HTTPAdapter):
    """Keeps connections to one address, and dials anew in place of one that was idle for `idle_s`.

    What is the same for every request is found out once: that took half of a request's time.
    """

    def __init__(self, address: str, idle_s: float, context: ssl.SSLContext | None) -> None:
        self._origin = address.removesuffix(urlsplit(address).path)
        self._idle_s = idle_s
        self._context = context
        self._pool: ConnectionPool | None = None
        super().__init__(pool_connections=1, pool_maxsize=_KEPT, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._idle_s)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        if proxy not in self.proxy_manager:
            manager = super().proxy_manager_for(proxy, ssl_context=self._context, **kwargs)
            manager.pool_classes_by_scheme = _pools(self._idle_s)
        return self.proxy_manager[proxy]

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> ConnectionPool:
        pool = self._pool
        if pool is None:
            pool = self._pool = super().get_connection_with_tls_context(*args, **kwargs)
        return pool

    def request_url(self, request: requests.PreparedRequest, proxies: object) -> str:
        assert request.url is not None
        if proxies and self._context is None:  # a proxy that sees the request wants all of it
            return request.url
        return request.url.removeprefix(self._origin)

    def build_response(self, req: requests.PreparedRequest, resp: Any) -> requests.Response:
        """Return status and body; the headers, as they came, are those of `raw`."""
        response = requests.Response()
        response.request, response.raw, response.status_code = req, resp, resp.status
        return response

    def close(self) -> None:
        self._pool = None
        super().close()


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

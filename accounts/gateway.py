"""The one door to an authenticated client: opens the seal, and keeps connections alive."""

from dataclasses import replace
from functools import cache, lru_cache

from django.conf import settings
from redis import Redis

from accounts.models import Account
from exchange import live
from exchange.auth import Credentials
from exchange.client import Client
from exchange.config import (
    PRIVATE_RATE,
    PUBLIC_RATE,
    USUAL_TIMEOUTS,
    Endpoints,
    Network,
    StreamCaps,
)
from exchange.connections import Connections
from exchange.errors import OperatorNeededError
from exchange.live import LiveView
from exchange.ratelimit import Scope
from exchange.rest import RestClient
from exchange.serverclock import ServerClock
from exchange.sharedadmission import SharedAdmission
from exchange.sharedlimit import SharedLimiter


def client_for(account: Account) -> Client:
    """Return the account's client; the same one as before while its credentials are the same.

    Raises:
        OperatorNeededError: this installation does not know the account's network.
        accounts.crypto.SealBrokenError: no key of this process opens the credentials.
    """
    return opened(account)[0]


def opened(account: Account) -> tuple[Client, Credentials]:
    """Return the account's client and what is under its seal, which takes its time to open.

    Raises:
        OperatorNeededError, accounts.crypto.SealBrokenError: as `client_for`.
    """
    return _opened(account.pk, account.owner_id, Network(account.network), account.credentials_sealed)


def endpoints_of(network: Network) -> Endpoints:
    """Return where a network is.

    Raises:
        OperatorNeededError: this installation does not know it.
    """
    try:
        return settings.LN_MARKETS_ENDPOINTS[network]
    except KeyError:
        raise OperatorNeededError(
            f"This installation knows no {network} exchange: set LN_MARKETS_NETWORK={network}"
            " and LN_MARKETS_API_URL, or start one with `make run`."
        ) from None


def rest_client(network: Network, credentials: Credentials | None = None) -> RestClient:
    """Return a client of its own for a network; without credentials for public endpoints only."""
    return RestClient(
        endpoints_of(network),
        credentials,
        limiter=_limiter(settings.PRIVATE_CALLS_PER_S, settings.PUBLIC_CALLS_PER_S),
        server_clock=server_clock(network),
        connections=_connections(endpoints_of(network)),
    )


@cache
def redis_client() -> Redis:
    """Return the process's own way to Redis, impatient as the live view wants it."""
    return live.connect(settings.REDIS_URL, timeout_s=settings.REDIS_PATIENCE_MS / 1000)


@cache
def live_view() -> LiveView:
    return LiveView(redis_client())


@cache
def server_clock(network: Network) -> ServerClock:  # noqa: ARG001 - one for each network
    return ServerClock()


def stream_caps() -> StreamCaps:
    """Return what the exchange allows this address of ours on the stream."""
    return StreamCaps(
        sockets=settings.STREAM_SOCKETS,
        dials_per_hour=settings.STREAM_DIALS_PER_HOUR,
        authentications_per_minute=settings.STREAM_AUTHENTICATIONS_PER_MINUTE,
    )


def admission(network: Network) -> SharedAdmission:
    """Return who is asked before a socket is dialled; all our processes share one count."""
    return SharedAdmission(redis_client(), network, stream_caps())


@cache
def _connections(endpoints: Endpoints) -> Connections:
    return Connections(endpoints, idle_s=USUAL_TIMEOUTS.idle_s)


@cache
def _limiter(private_per_s: int, public_per_s: int) -> SharedLimiter:
    return SharedLimiter(
        redis_client(),
        {
            Scope.PRIVATE: replace(PRIVATE_RATE, per_s=private_per_s),
            Scope.PUBLIC: replace(PUBLIC_RATE, per_s=public_per_s),
        },
    )


@lru_cache(maxsize=10_000)
def _opened(
    account_id: int, owner_id: int, network: Network, sealed: str
) -> tuple[Client, Credentials]:
    # The sealed text is part of the key, so that new credentials get a new client; and all that it is
    # bound to, so that none is handed out for another place.
    endpoints_of(network)  # where it is not known here, that is what is to be said
    account = Account(pk=account_id, owner_id=owner_id, network=network, credentials_sealed=sealed)
    credentials = account.credentials()
    rest = rest_client(network, credentials)
    return Client(rest, live_view(), account_id=account_id, network=network), credentials

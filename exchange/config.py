"""Where each network is, and how long we wait for it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Network(StrEnum):
    MAINNET = "mainnet"
    SIGNET = "signet"
    PAPER = "paper"


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """The two doors of one network, without the version path, which is the client's own."""

    api_url: str
    stream_url: str


PUBLIC_ENDPOINTS: Final = {
    Network.MAINNET: Endpoints(
        api_url="https://api.lnmarkets.com", stream_url="wss://stream.lnmarkets.com"
    ),
    Network.SIGNET: Endpoints(
        api_url="https://api.signet.lnmarkets.com", stream_url="wss://stream.signet.lnmarkets.com"
    ),
}
"""The real networks (API notes, section 1). A paper exchange has no fixed address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for the exchange, in seconds."""

    connect_s: float = 3.0
    read_s: float = 10.0
    heartbeat_s: float = 30.0
    """Send a `ping` after this long; the exchange drops a connection idle for 120 s."""
    silence_s: float = 40.0
    """A connection that brought no frame for this long is half-open: drop it."""
    reconnect_first_s: float = 1.0
    reconnect_most_s: float = 30.0

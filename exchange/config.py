"""Where each network is, and how long we wait for it."""

from dataclasses import dataclass, field, replace
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
    ca_file: str | None = None
    """Certificates to trust in place of the system's: for a paper exchange with its own."""
    proxy: str | None = field(default=None, repr=False)
    """`http://[user:password@]host[:port]` between us and both doors."""


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
class Probes:
    """How often a connection is tried while none of its kind is live, in seconds.

    Even where the exchange counts each of them, there is room for all sessions to return: they are 180
    an hour for prices and 80 for accounts, of the 500 that it allows.
    """

    first_s: float = 1.0
    most_s: float = 20.0
    """Intervals double from the first to the most."""
    accounts_most_s: float = 45.0
    """Likewise for accounts: prices that come back call them at once."""

    @property
    def of_accounts(self) -> "Probes":
        return replace(self, most_s=self.accounts_most_s)

    def interval_s(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row, 1 at least."""
        # The exponent is bounded: after days of outage the power would overflow.
        return min(self.first_s * 2.0 ** min(failures - 1, 30), self.most_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for the exchange, in seconds."""

    connect_s: float = 3.0
    read_s: float = 10.0
    heartbeat_s: float = 30.0
    """Send a `ping` after this long; the exchange drops a connection idle for 120 s."""
    silence_s: float = 40.0
    """A connection that brought no frame for this long is half-open: drop it."""
    idle_s: float = 4.0
    """Dial anew after this long. Servers commonly close what idled 5 s, and a connection that closes
    just as a write leaves makes its outcome unknown."""
    turn_s: float = 3.0
    """Wait this long for a slot under the rate limit before giving the request back."""
    reconnect_first_s: float = 1.0
    reconnect_most_s: float = 30.0
    """Waits between connections double from the first to the most, each shortened by chance."""
    refused_most_s: float = 300.0
    """The most where connections of a key come to stand and do not last: all that the exchange counts
    must not be wasted on one key that it refuses, or on one account that cannot be read."""

    @property
    def probes(self) -> Probes:
        """Probes as patient as one session alone."""
        return Probes(
            first_s=self.reconnect_first_s,
            most_s=self.reconnect_most_s,
            accounts_most_s=self.reconnect_most_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """One limit of the exchange."""

    per_s: float
    burst: int = 1
    """How many may come at once; the exchange promises none beyond one (API notes, 4.4)."""
    reserve: float = 0.0
    """The share that ordinary calls leave to protective writes."""

    @property
    def ordinary_per_s(self) -> float:
        return self.per_s * (1 - self.reserve)


PRIVATE_RATE: Final = Rate(per_s=5.0, reserve=0.2)
PUBLIC_RATE: Final = Rate(per_s=1.0)
"""Per key and per address of ours (API notes, 4.4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How a read is asked again; a write never is."""

    attempts: int = 3
    first_s: float = 0.25
    most_s: float = 4.0
    """A longer wait is the caller's to decide: the error says how long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamCaps:
    """What the exchange allows one address of ours on the stream (API notes, 5.1)."""

    sockets: int = 32
    public_sockets: int = 1
    """How many of them are kept for prices."""
    dials_per_hour: int = 500
    price_share: float = 0.25
    """The part of the dials that accounts leave to prices."""
    authentications_per_minute: int = 20

    @property
    def account_dials_per_hour(self) -> int:
        return max(1, self.dials_per_hour - int(self.dials_per_hour * self.price_share))

    @property
    def private_sockets(self) -> int:
        return self.sockets - self.public_sockets


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolPace:
    """How fresh the positions of many accounts are kept, in seconds."""

    stale_s: float = 5.0
    """A stream not heard for this long is not believed: REST takes over."""
    poll_s: float = 4.0
    """Between two readings where no stream is live."""
    poll_empty_s: float = 30.0
    """At most, where there was no position: one that somebody opens by hand is seen that late."""
    empty_per_s: float = 45.0
    """Readings a second that all such accounts share; few of them are read every `poll_s`."""
    retry_s: float = 1.0
    """After a failed reading; doubles up to `retry_most_s` while readings fail."""
    retry_most_s: float = 15.0
    reread_s: float = 15.0
    """Between two readings where the stream is live: some changes bring no event (5.9)."""
    idle_s: float = 300.0
    """An account without positions for this long gives its socket back."""
    swap_s: float = 10.0
    """At most one socket changes hands in this time, so that reconnects keep their budget."""
    swap_margin: float = 0.05
    """How much more at risk an account must be to take another's socket."""

    def empty_s(self, accounts: int) -> float:
        """Return the seconds between two readings where so many accounts are without positions."""
        return max(self.poll_s, min(accounts / self.empty_per_s, self.poll_empty_s))


USUAL_CAPS: Final = StreamCaps()
USUAL_PACE: Final = PoolPace()
USUAL_PROBES: Final = Probes()
PRIVATE_TIMEOUTS: Final = Timeouts(
    read_s=5.0, heartbeat_s=2.0, silence_s=8.0, reconnect_most_s=USUAL_PROBES.most_s
)
"""Of sessions that are silent unless something happens: a dead one must show within `stale_s`."""
USUAL_TIMEOUTS: Final = Timeouts()
USUAL_RETRIES: Final = Retries()

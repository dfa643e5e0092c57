"""Everything one can choose about a paper exchange, with its defaults."""

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Final

from exchange.config import PUBLIC_ENDPOINTS, Network
from exchange.money import Sats, UsdPerBtc
from exchange.simulator.engine.account import TRADING_SCOPES, Scope
from exchange.simulator.engine.market import FUNDING_RATE
from exchange.simulator.engine.rules import USUAL, Rules
from exchange.simulator.windows import REST_GRACE_S, Rate

_FIVE_A_SECOND: Final = Rate(most=5, window_s=1 - REST_GRACE_S)
_ONE_A_SECOND: Final = Rate(most=1, window_s=1 - REST_GRACE_S)
_TEN_A_SECOND: Final = Rate(most=10, window_s=1)
_TWENTY_A_MINUTE: Final = Rate(most=20, window_s=60)
_FIVE_HUNDRED_AN_HOUR: Final = Rate(most=500, window_s=3600)
_TENTH_OF_A_BITCOIN: Final = Sats(10_000_000)
_START_PRICE: Final = UsdPerBtc(Decimal(100_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of the real exchange (API notes, 4.4, 5.1)."""

    private_rest: Rate = _FIVE_A_SECOND
    """Per key."""
    public_rest: Rate = _ONE_A_SECOND
    """Per IP."""
    stream_messages: Rate = _TEN_A_SECOND
    """Per connection."""
    authentications: Rate = _TWENTY_A_MINUTE
    """Per IP."""
    new_connections: Rate = _FIVE_HUNDRED_AN_HOUR
    """Per IP."""
    connections: int = 32
    """At a time, per IP."""
    idle_s: float = 120.0
    """Without a frame from the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    host: str = "127.0.0.1"
    port: int = 0
    control_port: int = 0
    seed: int = 1
    accounts: int = 2
    balance: Sats = _TENTH_OF_A_BITCOIN
    latency_ms: int = 0
    """Round trip added to each REST answer."""
    prices: str = "synthetic"
    """`synthetic`, `manual`, `live`, or the path of a CSV file of candles."""
    live_url: str = f"{PUBLIC_ENDPOINTS[Network.MAINNET].stream_url}/v1"
    """Where live prices come from."""
    speed: float | None = None
    """How many times faster than real time; None is 1 for the synthetic walk and 60 for a file."""
    waits: bool = False
    """Whether the first price stays until the control port is told to let prices run."""
    start_price: UsdPerBtc = _START_PRICE
    """Where synthetic and manual prices begin."""
    funding_rate: Decimal = FUNDING_RATE
    """Of every settlement; positive makes longs pay."""
    scopes: frozenset[Scope] = TRADING_SCOPES
    """What every key may do."""
    fee_tier: int = 0
    """The least of every account, 0 to 3; a large volume earns a better one."""
    half_spread: Decimal = Decimal("0.5")
    """Dollars from the last price to the smallest bucket's ask and bid."""
    index_offset: Decimal = Decimal("4.25")
    """Dollars by which the index lies above the last price: in a real market they hardly ever agree."""
    rules: Rules = USUAL
    tls: bool = False
    """Serve https and wss with a certificate of our own making."""
    most_message_bytes: int = 16 * 1024
    """Of one frame from a client; a larger one ends its connection (5.1)."""
    limits: Limits | None = field(default_factory=Limits)
    """None: no limits at all."""

"""What truly reached the paper exchange: every write with its effect, and every price it pushed."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from exchange.money import UsdPerBtc

MOST_TICKS: Final = 20_000
MOST_WRITES: Final = 200_000


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteRecord:
    """One POST, PUT or DELETE as it came. `status` is what was answered; None where no answer left."""

    method: str
    path: str
    params: Mapping[str, object]
    account: str | None
    """The API key that the request named."""
    received_at_us: int
    applied: bool
    effect: str | None
    status: int | None
    trade: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """One price. `time` is the millisecond stamp that was pushed with it."""

    time: int
    price: UsdPerBtc
    sent_at_us: int


class Ledger:
    """The newest records only, so that a long run does not fill the memory."""

    def __init__(self) -> None:
        self.writes: deque[WriteRecord] = deque(maxlen=MOST_WRITES)
        self.ticks: deque[Tick] = deque(maxlen=MOST_TICKS)

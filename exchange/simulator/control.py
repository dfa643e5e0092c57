"""The control port: for tests and people, never for the clients under test."""

from collections.abc import Callable
from dataclasses import asdict, fields
from itertools import islice
from types import TracebackType
from typing import Any, Final

from tornado.web import RequestHandler

from exchange.money import Sats
from exchange.simulator import codec
from exchange.simulator.engine.market import checked_price
from exchange.simulator.engine.refused import Refused
from exchange.simulator.faults import NOWHERE, Fault, Kind
from exchange.simulator.paper import Paper, Push
from exchange.simulator.rest import payloads
from exchange.simulator.rest.answers import ApiError, bad_request
from exchange.simulator.rest.params import MOST_SATS, Params

MOST_HITS: Final = 1_000_000


class ControlDoor(RequestHandler):
    """Answers JSON; a request it cannot use gets 400 and one sentence."""

    def initialize(
        self,
        paper: Paper,
        order: Callable[[Fault], None],
        end_faults: Callable[[], None],
        begin: Callable[[], float | None],
    ) -> None:
        self.paper = paper
        self.begin = begin
        self.order = order
        self.end_faults = end_faults

    def set_default_headers(self) -> None:
        self.set_header("Content-Type", "application/json; charset=utf-8")

    def params(self) -> Params:
        return Params.from_body(self.request.body, "application/json")

    def send(self, value: object) -> None:
        self.finish(codec.encode(value))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1]
        if isinstance(error, ApiError | Refused):
            self.set_status(400)
        self.send({"message": str(error) or f"status {status_code}"})

    def log_exception(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave out what is the caller's mistake: the caller is told."""
        if not isinstance(error, ApiError | Refused):
            super().log_exception(kind, error, trace)


class LedgerDoor(ControlDoor):
    """Tells all that came; with `?skip=` not the first so many writes, which the caller has already.

    A write stands there once it is answered, so that one may have been received before its neighbour.
    """

    def get(self) -> None:
        ledger = self.paper.ledger
        known = int(self.get_query_argument("skip", "0"))
        writes = [asdict(write) for write in islice(ledger.writes, known, None)]
        self.send({"writes": writes, "ticks": [asdict(tick) for tick in ledger.ticks]})


class TicksDoor(ControlDoor):
    def get(self) -> None:
        self.send([asdict(tick) for tick in self.paper.ledger.ticks])


class PriceDoor(ControlDoor):
    def post(self) -> None:
        self.paper.move(checked_price(self.params().number("price")))
        self.send({"price": self.paper.venue.market.price})


class PricesDoor(ControlDoor):
    """Lets prices run that were to wait, and tells in how many seconds the deepest fall is over."""

    def post(self) -> None:
        self.send({"fallOverS": self.begin()})


class IndexDoor(ControlDoor):
    """Moves the index alone."""

    def post(self) -> None:
        self.paper.move_index(checked_price(self.params().number("index")))
        self.send({"index": self.paper.venue.market.index})


class PushDoor(ControlDoor):
    """Pushes one frame with a wrong value: `topic` is lastPrice, index or ticker."""

    def post(self) -> None:
        params = self.params()
        push, value = params.choice("topic", Push), checked_price(params.number("value"))
        self.paper.push(push, value)
        self.send({"topic": push, "value": value})


class FundingDoor(ControlDoor):
    """Settles funding at once, at another rate if the body names one."""

    def post(self) -> None:
        params = self.params()
        if params.has("rate"):
            self.paper.venue.market.funding_rate = params.number("rate", least=-1)
        settlement = self.paper.settle_funding()
        self.send(payloads.settlement(settlement))


class DepositDoor(ControlDoor):
    """Pays sats into an account, as if someone had paid its invoice."""

    def post(self) -> None:
        params = self.params()
        account = self.paper.venue.account_with_key(params.text("account"))
        if account is None:
            raise bad_request("There is no account with this key")
        amount = Sats(params.integer("amount", least=1, most=MOST_SATS))
        account.movements.pay(amount, self.paper.now_us() // 1000)
        self.paper.publish()
        self.send({"balance": account.wallet.balance})


class AnnouncementDoor(ControlDoor):
    """Announces to every listener; a body of an id alone takes an announcement back."""

    def post(self) -> None:
        params = self.params()
        announcement: dict[str, object] = {"id": params.text("id")}
        if params.has("title"):
            announcement["title"] = params.text("title")
            announcement["message"] = params.text("message", most=2000)
            announcement["link"] = params.text("link") if params.has("link") else None
        self.paper.announce(announcement)
        self.send(announcement)


class FaultsDoor(ControlDoor):
    """Orders faults, ends them all, and tells which still wait."""

    def get(self) -> None:
        self.send(
            [
                {
                    name: value
                    for name in _FAULT_FIELDS
                    if (value := getattr(fault, name)) is not NOWHERE
                }
                for fault in self.paper.faults.waiting
            ]
        )

    def post(self) -> None:
        self.order(fault_in(self.params()))
        self.get()

    def delete(self) -> None:
        self.end_faults()
        self.get()


_FAULT_FIELDS: Final = tuple(field.name for field in fields(Fault) if field.init)


def fault_in(params: Params) -> Fault:
    """Return the fault that a control request describes; `ApiError` says what is wrong with it."""
    for name in params.values:
        if name not in _FAULT_FIELDS:
            raise bad_request(f"Unknown field {name}; known are {', '.join(_FAULT_FIELDS)}")
    usual = Fault(kind=params.choice("kind", Kind))

    def text(name: str) -> str | None:
        return params.text(name) if params.has(name) else None

    def integer(name: str, usual: int, *, least: int, most: int) -> int:
        return params.integer(name, least=least, most=most) if params.has(name) else usual

    return Fault(
        kind=usual.kind,
        next=integer("next", 0, least=1, most=MOST_HITS) or None,
        probability=_share(params, "probability", least=0) if params.has("probability") else None,
        seed=integer("seed", usual.seed, least=0, most=MOST_HITS),
        method=text("method"),
        path=text("path"),
        topic=text("topic"),
        account=text("account"),
        status=integer("status", usual.status, least=400, most=599),
        retry_after=text("retry_after"),
        ms=integer("ms", usual.ms, least=0, most=MOST_HITS),
        share=_share(params, "share", least=-1) if params.has("share") else usual.share,
        id=text("id"),
        field=text("field") or usual.field,
        value=params.values.get("value", NOWHERE),
    )


def _share(params: Params, name: str, *, least: int) -> float:
    share = params.number(name, least=least)
    if share > 1:
        raise bad_request(f"{name} must be at most 1")
    return float(share)


DOORS: Final[dict[str, type[ControlDoor]]] = {
    "/ledger": LedgerDoor,
    "/ticks": TicksDoor,
    "/price": PriceDoor,
    "/prices": PricesDoor,
    "/index": IndexDoor,
    "/push": PushDoor,
    "/funding": FundingDoor,
    "/deposit": DepositDoor,
    "/announcement": AnnouncementDoor,
    "/faults": FaultsDoor,
}

"""The control port: for tests and people, never for the clients under test."""

from dataclasses import asdict
from types import TracebackType
from typing import Any, Final

from tornado.web import RequestHandler

from exchange.money import Sats
from exchange.simulator import codec
from exchange.simulator.engine.market import checked_price
from exchange.simulator.engine.refused import Refused
from exchange.simulator.faults import Fault, Kind
from exchange.simulator.paper import Paper
from exchange.simulator.rest import payloads
from exchange.simulator.rest.answers import ApiError, bad_request
from exchange.simulator.rest.params import MOST_SATS, Params

MOST_HITS: Final = 1_000_000


class ControlDoor(RequestHandler):
    """Answers JSON; a request it cannot use gets 400 and one sentence."""

    def initialize(self, paper: Paper) -> None:
        self.paper = paper

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
    def get(self) -> None:
        ledger = self.paper.ledger
        writes = [asdict(write) for write in ledger.writes]
        self.send({"writes": writes, "ticks": [asdict(tick) for tick in ledger.ticks]})


class TicksDoor(ControlDoor):
    def get(self) -> None:
        self.send([asdict(tick) for tick in self.paper.ledger.ticks])


class PriceDoor(ControlDoor):
    def post(self) -> None:
        self.paper.move(checked_price(self.params().number("price")))
        self.send({"price": self.paper.venue.market.price})


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
    def get(self) -> None:
        self.send([asdict(fault) for fault in self.paper.faults.waiting])

    def post(self) -> None:
        self.paper.faults.add(fault_in(self.params()))
        self.get()

    def delete(self) -> None:
        self.paper.faults.clear()
        self.get()


_FAULT_FIELDS: Final = frozenset({"kind", "next", "status", "method", "path", "account"})


def fault_in(params: Params) -> Fault:
    """Return the fault that a control request describes; `ApiError` says what is wrong with it."""
    for name in params.values:
        if name not in _FAULT_FIELDS:
            raise bad_request(f"Unknown field {name}; known are {', '.join(sorted(_FAULT_FIELDS))}")
    return Fault(
        kind=params.choice("kind", Kind),
        next=params.integer("next", least=1, most=MOST_HITS) if params.has("next") else 1,
        status=params.integer("status", least=400, most=599) if params.has("status") else 503,
        method=params.text("method") if params.has("method") else None,
        path=params.text("path") if params.has("path") else None,
        account=params.text("account") if params.has("account") else None,
    )

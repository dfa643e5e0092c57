"""The endpoints that need no key, and the account (API notes, 3.3 to 3.5)."""

from exchange.simulator.codec import iso
from exchange.simulator.engine.account import Scope
from exchange.simulator.engine.market import next_funding_ms
from exchange.simulator.rest import payloads
from exchange.simulator.rest.endpoints import Call, Public, PublicCall, Read, Routes

_WEIGHTS = {"bybit": 0.4, "binance": 0.4, "okx": 0.2}


def _ping(_call: PublicCall) -> object:
    return "pong"


def _time(call: PublicCall) -> object:
    return {"time": iso(call.now_ms)}


def _ticker(call: PublicCall) -> object:
    market = call.venue.market
    return {
        "time": iso(call.now_ms),
        "index": market.price,
        "lastPrice": market.price,
        "fundingRate": market.funding_rate,
        "fundingTime": iso(next_funding_ms(call.now_ms)),
        "prices": [payloads.bucket(bucket) for bucket in market.ladder()],
        "priceChange24h": None,
        "exchangesWeights": _WEIGHTS,
    }


def _account(call: Call) -> object:
    return payloads.account(call.account)


ROUTES: Routes = {
    ("GET", "/v3/ping"): Public(run=_ping),
    ("GET", "/v3/time"): Public(run=_time),
    ("GET", "/v3/futures/ticker"): Public(run=_ticker),
    ("GET", "/v3/account"): Read(scope=Scope.ACCOUNT_READ, run=_account),
}

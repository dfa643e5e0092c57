"""An order that only the engine could be given: REST asks for exactly one of size and margin."""

from decimal import Decimal

import pytest

from exchange.formulas import Side
from exchange.money import UsdPerBtc
from exchange.simulator.engine.market import Market
from exchange.simulator.engine.opening import NewTrade, planned
from exchange.simulator.engine.refused import Refused
from exchange.simulator.engine.trade import OrderType


def test_an_order_without_size_and_margin_plans_nothing() -> None:
    order = NewTrade(
        type=OrderType.MARKET,
        side=Side.BUY,
        leverage=Decimal(1),
        quantity=None,
        margin=None,
        price=None,
        stoploss=Decimal(0),
        trailing=False,
        takeprofit=Decimal(0),
        client_id=None,
    )
    market = Market(price=UsdPerBtc(Decimal(100)), half_spread=Decimal(0))
    with pytest.raises(Refused, match="Either quantity or margin"):
        planned(order, trade_id="t", market=market, now_ms=0)

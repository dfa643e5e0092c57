"""Cross margin over REST and stream: netting, carrying a loss, flipping, liquidation."""

from decimal import Decimal
from typing import Any

import pytest

from exchange.money import Sats
from exchange.simulator.running import Simulator
from tests.exchange.simulator.calling import Reply, Rest, Stream

BASE = "/futures/cross"
ORDERS = "futures/inverse/btc_usd/cross/orders"
POSITION = "futures/inverse/btc_usd/cross/position"


def funded(rest: Rest, margin: int = 500_000) -> None:
    assert rest.post(f"{BASE}/deposit", amount=margin).status == 200


def market(rest: Rest, side: str, quantity: int) -> Reply:
    return rest.post(f"{BASE}/order", type="market", side=side, quantity=quantity)


def limit(rest: Rest, side: str, quantity: int, price: object) -> dict[str, Any]:
    order = {"type": "limit", "side": side, "quantity": quantity, "price": price}
    reply = rest.post(f"{BASE}/order", **order)
    assert reply.status == 200, reply.body
    body: dict[str, Any] = reply.body
    return body


def position(rest: Rest, *names: str) -> list[Any]:
    body = rest.get(f"{BASE}/position").body
    return [body[name] for name in names]


def test_a_flat_position_is_all_zeros_with_no_price(rest: Rest) -> None:
    body = rest.get(f"{BASE}/position").body
    assert body.pop("id")
    assert body.pop("updatedAt")
    assert body == {
        "quantity": 0,
        "leverage": 10,
        "margin": 0,
        "entryPrice": None,
        "liquidation": None,
        "totalPl": 0,
        "fundingFees": 0,
        "tradingFees": 0,
        "initialMargin": 0,
        "maintenanceMargin": 0,
        "runningMargin": 0,
        "deltaPl": 0,
    }


@pytest.mark.parametrize(
    ("side", "quantity", "liquidation"),
    [pytest.param("buy", 1000, 66733.5, id="long"), pytest.param("sell", -1000, 199402, id="short")],
)
def test_a_position_has_the_margins_of_the_notes(
    rest: Rest, side: str, quantity: int, liquidation: float
) -> None:
    funded(rest, 500_000 + 1000)
    order = market(rest, side, 1000).body
    assert (order["type"], order["filled"], order["open"]) == ("market", True, False)
    assert (order["tradingFee"], order["price"]) == (1000, 100_000)
    names = ("quantity", "margin", "runningMargin", "maintenanceMargin", "liquidation", "tradingFees")
    assert position(rest, *names) == [quantity, 500_000, 100_000, 1500, liquidation, 1000]


def test_orders_of_one_side_average_their_entry(venue: Simulator, rest: Rest) -> None:
    funded(rest, 5_000_000)
    market(rest, "buy", 1000)
    venue.set_price(50000)
    market(rest, "buy", 2000)
    assert position(rest, "quantity", "entryPrice") == [3000, 60000]


def test_reducing_in_profit_pays_into_the_margin(venue: Simulator, rest: Rest) -> None:
    funded(rest)
    market(rest, "buy", 1000)
    before = position(rest, "margin")[0]
    venue.set_price(105000)
    assert market(rest, "sell", 400).body["tradingFee"] == 380
    names = ("quantity", "entryPrice", "margin", "totalPl")
    assert position(rest, *names) == [600, 100_000, before + 19048 - 380, 19048]


def test_reducing_in_loss_is_carried_by_the_rest(venue: Simulator, rest: Rest) -> None:
    funded(rest)
    market(rest, "buy", 1000)
    before = position(rest, "margin")[0]
    venue.set_price(90000)
    market(rest, "sell", 400)
    names = ("quantity", "entryPrice", "margin", "totalPl", "deltaPl")
    assert position(rest, *names) == [600, 108_000, before - 444, 0, -111_111]


def test_a_loss_that_no_entry_can_carry_is_taken_from_the_margin(venue: Simulator, rest: Rest) -> None:
    """10 USD are 11,111 sats at 90,000, which the whole loss of 111,111 is more than."""
    funded(rest)
    market(rest, "buy", 1000)
    before = position(rest, "margin")[0]
    venue.set_price(90000)
    fee = market(rest, "sell", 990).body["tradingFee"]
    names = ("quantity", "entryPrice", "margin", "totalPl", "deltaPl")
    assert position(rest, *names) == [10, 100_000, before - 110_000 - fee, -110_000, -1_111]


def test_a_larger_opposite_order_flips_the_position(rest: Rest) -> None:
    funded(rest)
    market(rest, "buy", 2)
    market(rest, "sell", 3)
    assert position(rest, "quantity", "entryPrice") == [-1, 100_000]


def test_closing_sends_the_opposite_order_for_everything(venue: Simulator, rest: Rest) -> None:
    funded(rest)
    market(rest, "sell", 1000)
    venue.set_price(95000)
    closed = rest.post(f"{BASE}/position/close").body
    assert (closed["side"], closed["quantity"], closed["price"]) == ("buy", 1000, 95000)
    names = ("quantity", "entryPrice", "totalPl", "deltaPl")
    assert position(rest, *names) == [0, None, 52632, 0]
    assert rest.post(f"{BASE}/position/close").status == 400
    filled = rest.get(f"{BASE}/orders/filled").body["data"]
    assert filled[0]["id"] == closed["id"]


def test_deposits_and_withdrawals_move_exactly_their_amount(rest: Rest) -> None:
    funded(rest, 500_000)
    assert rest.balance() == 9_500_000
    withdrawn = rest.post(f"{BASE}/withdraw", amount=200_000).body
    assert withdrawn["margin"] == 300_000
    assert rest.balance() == 9_700_000
    transfers = rest.get(f"{BASE}/transfers").body["data"]
    assert [transfer["amount"] for transfer in transfers] == [-200_000, 500_000]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        pytest.param("deposit", {"amount": 10_000_001}, id="more than the balance"),
        pytest.param("deposit", {"amount": 0}, id="nothing"),
        pytest.param("withdraw", {"amount": 398_000}, id="what the position needs"),
        pytest.param("leverage", {"leverage": 1}, id="a leverage the margin does not carry"),
        pytest.param("leverage", {"leverage": 2.5}, id="half a leverage"),
        pytest.param("leverage", {"leverage": 101}, id="too much leverage"),
        pytest.param("order", {"type": "market", "side": "buy", "quantity": 5000}, id="no margin"),
        pytest.param(
            "order",
            {"type": "limit", "side": "buy", "quantity": 5000, "price": 99000},
            id="nor resting",
        ),
        pytest.param("order", {"type": "market", "side": "buy", "quantity": 0}, id="no contracts"),
        pytest.param("order", {"type": "limit", "side": "buy", "quantity": 1}, id="no price"),
        pytest.param("order/cancel", {"id": "nothing"}, id="unknown order"),
    ],
)
def test_what_breaks_a_rule_is_refused_and_changes_nothing(
    rest: Rest, path: str, body: dict[str, Any]
) -> None:
    funded(rest)
    market(rest, "buy", 1000)
    before = rest.get(f"{BASE}/position").body
    method = rest.put if path == "leverage" else rest.post
    reply = method(f"{BASE}/{path}", **body)
    assert (reply.status, reply.body["code"]) == (400, "BAD_REQUEST")
    assert rest.get(f"{BASE}/position").body == before


def test_the_whole_of_a_position_larger_than_any_order_can_be_closed() -> None:
    with Simulator(balance=Sats(10**10), half_spread=Decimal(1)) as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        funded(rest, 10**9)
        for _ in range(2):
            market(rest, "buy", 500_000)
        closed = rest.post(f"{BASE}/position/close").body
        assert (closed["quantity"], closed["price"]) == (1_000_000, 99_996)


def test_a_position_has_a_largest_size() -> None:
    with Simulator(balance=Sats(2 * 10**10)) as venue:
        rest = Rest(venue.rest, venue.accounts[0].credentials)
        funded(rest, 2 * 10**10)
        rest.put(f"{BASE}/leverage", leverage=100)
        statuses = [market(rest, "buy", 500_000).status for _ in range(21)]
        assert statuses == [200] * 20 + [400]
        assert position(rest, "quantity") == [10_000_000]


def test_what_would_leave_a_losing_position_to_liquidation_cannot_be_withdrawn(
    venue: Simulator, rest: Rest
) -> None:
    funded(rest, 300_000)
    rest.put(f"{BASE}/leverage", leverage=100)
    market(rest, "buy", 1000)
    venue.set_price(80_000)
    assert rest.post(f"{BASE}/withdraw", amount=100_000).status == 400


def test_filled_orders_come_in_pages(rest: Rest) -> None:
    funded(rest)
    for _ in range(3):
        market(rest, "buy", 1)
    page = rest.get(f"{BASE}/orders/filled", limit=2).body
    assert len(page["data"]) == 2
    assert page["nextCursor"] == page["data"][-1]["filledAt"]


def test_leverage_changes_the_running_margin_only(rest: Rest) -> None:
    funded(rest)
    market(rest, "buy", 1000)
    before = rest.get(f"{BASE}/position").body
    after = rest.put(f"{BASE}/leverage", leverage=20).body
    assert after["runningMargin"] == 50_000
    assert after["liquidation"] == before["liquidation"]


def test_limit_orders_rest_fill_at_their_price_and_are_canceled(venue: Simulator, rest: Rest) -> None:
    funded(rest)
    first, second = limit(rest, "buy", 100, 99000), limit(rest, "sell", 100, 98000)
    assert (first["open"], first["tradingFee"]) == (True, 0)
    assert position(rest, "initialMargin") == [10101 + 10204]
    assert [order["id"] for order in rest.get(f"{BASE}/orders/open").body] == [
        second["id"],
        first["id"],
    ]
    venue.set_price(98500)
    assert position(rest, "quantity", "entryPrice") == [100, 99000]
    canceled = rest.post(f"{BASE}/order/cancel", id=second["id"]).body
    assert (canceled["canceled"], canceled["filledAt"]) == (True, None)
    assert canceled["canceledAt"]
    third = limit(rest, "buy", 1, 90000)
    assert [order["id"] for order in rest.post(f"{BASE}/orders/cancel-all").body] == [third["id"]]


def test_liquidation_uses_up_the_margin_and_cancels_the_orders(venue: Simulator, rest: Rest) -> None:
    funded(rest, 500_000 + 1000)
    market(rest, "buy", 1000)
    limit(rest, "sell", 100, 120_000)
    venue.set_price(60000)
    names = ("quantity", "margin", "liquidation", "entryPrice")
    assert position(rest, *names) == [0, 0, None, None]
    order = rest.get(f"{BASE}/orders/filled").body["data"][0]
    assert (order["type"], order["side"], order["price"]) == ("liquidation", "sell", 66733.5)
    assert rest.get(f"{BASE}/orders/open").body == []
    assert rest.balance() == 10_000_000 - 501_000


def test_on_its_way_the_price_fills_what_it_meets_before_liquidation(
    venue: Simulator, rest: Rest
) -> None:
    funded(rest)
    market(rest, "buy", 1000)
    limit(rest, "sell", 1000, 80000)
    venue.set_price(60000)
    filled = rest.get(f"{BASE}/orders/filled").body["data"]
    assert [(order["type"], order["price"]) for order in filled] == [
        ("limit", 80000),
        ("market", 100_000),
    ]
    assert position(rest, "quantity") == [0]


def test_an_order_that_would_be_liquidated_at_once_is_refused(venue: Simulator, rest: Rest) -> None:
    funded(rest, 300_000)
    rest.put(f"{BASE}/leverage", leverage=100)
    market(rest, "buy", 1000)
    venue.set_price(78_000)
    assert market(rest, "buy", 10_000).status == 400
    assert position(rest, "quantity") == [1000]


def test_on_its_way_the_price_liquidates_before_it_fills_what_lies_beyond(
    venue: Simulator, rest: Rest
) -> None:
    funded(rest)
    market(rest, "buy", 1000)
    limit(rest, "sell", 1000, 60_000)
    venue.set_price(50_000)
    filled = rest.get(f"{BASE}/orders/filled").body["data"]
    assert [order["type"] for order in filled] == ["liquidation", "market"]


def test_a_position_that_its_margin_no_longer_covers_may_still_be_reduced(
    venue: Simulator, rest: Rest
) -> None:
    funded(rest, 110_000)
    market(rest, "buy", 1000)
    venue.settle_funding("0.08")
    assert market(rest, "buy", 1).status == 400
    limit(rest, "sell", 100, 101_000)
    assert market(rest, "sell", 400).status == 200
    assert position(rest, "quantity") == [600]


def test_a_limit_order_that_the_margin_no_longer_covers_is_canceled_when_touched(
    venue: Simulator, rest: Rest
) -> None:
    funded(rest, 500_000)
    limit(rest, "buy", 2600, 90000)
    market(rest, "buy", 2000)
    venue.set_price(89000)
    assert position(rest, "quantity") == [2000]
    assert rest.get(f"{BASE}/orders/open").body == []


def test_funding_is_paid_from_the_margin(venue: Simulator, rest: Rest) -> None:
    funded(rest)
    market(rest, "buy", 1000)
    before = position(rest, "margin")[0]
    settlement = venue.settle_funding("0.0001")
    assert position(rest, "margin", "fundingFees") == [before - 100, 100]
    (fee,) = rest.get(f"{BASE}/funding-fees").body["data"]
    assert (fee["fee"], fee["settlementId"], fee["tradeId"]) == (100, settlement.id, None)


def test_the_stream_tells_of_orders_and_the_position(
    venue: Simulator, rest: Rest, stream: Stream
) -> None:
    stream.authenticate(venue.accounts[0].credentials)
    stream.call("subscribe", topics=[ORDERS, POSITION])
    funded(rest)
    market(rest, "buy", 1000)
    rest.post(f"{BASE}/order/cancel", id=limit(rest, "buy", 1, 90000)["id"])
    limit(rest, "sell", 100, 101_000)
    venue.set_price(101_000)
    rest.put(f"{BASE}/leverage", leverage=20)
    venue.settle_funding("0.0001")
    rest.post(f"{BASE}/withdraw", amount=1000)
    venue.set_price(1000)
    told: dict[str, list[Any]] = {ORDERS: [], POSITION: []}
    while told[POSITION][-1:] != ["liquidation"]:
        push = stream.push()
        told[push["topic"]].append(push["data"]["event"])
    assert told == {
        ORDERS: ["new", "new", "canceled", "new", "limit", "new"],
        POSITION: [
            *("deposit", "new", "new", "cancel", "new", "limit"),
            *("leverage", "funding", "withdraw", "liquidation"),
        ],
    }


def test_the_frames_carry_exactly_the_documented_fields(
    venue: Simulator, rest: Rest, stream: Stream
) -> None:
    stream.authenticate(venue.accounts[0].credentials)
    funded(rest)
    stream.call("subscribe", topics=[ORDERS, POSITION])
    limit(rest, "buy", 1, 90000)
    order, changed = stream.push()["data"]["order"], stream.push()["data"]["position"]
    rest.post(f"{BASE}/orders/cancel-all")
    canceled = stream.push()["data"]["order"]
    stream.push()
    market(rest, "sell", 1)
    filled = stream.push()["data"]["order"]
    common = {"id", "side", "type", "quantity", "price", "clientId", "createdAt"}
    assert set(order) == common | {"tradingFee"}
    assert set(canceled) == common | {"canceledAt"}
    assert set(filled) == common | {"tradingFee", "filledAt"}
    assert set(changed) == {
        *("quantity", "leverage", "margin", "entryPrice", "liquidation", "totalPl", "fundingFees"),
        *("tradingFees", "initialMargin", "maintenanceMargin", "runningMargin", "deltaPl"),
        "updatedAt",
    }
    assert isinstance(changed["updatedAt"], int)

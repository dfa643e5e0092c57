"""Reductions as the paper exchange carries them out: with its spread, its fees and its rounding."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from itertools import count

from hypothesis import assume, given
from hypothesis import strategies as st

from automations.rules.actions import ReducePosition
from automations.rules.metric import Metric
from automations.rules.reduction import reduction
from automations.rules.reopening import gave_back, pays_for_itself, rest_of
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc, nearest_tick
from exchange.position import CROSS, Position, PositionId, Regime
from exchange.simulator.engine.account import Account, Scope, identity
from exchange.simulator.engine.cross import NewCrossOrder
from exchange.simulator.engine.opening import NewTrade
from exchange.simulator.engine.trade import OrderType, State, Trade
from exchange.simulator.engine.venue import Venue
from exchange.trade import ClosedTrade
from exchange.trade import NewTrade as WantedTrade

START = UsdPerBtc(Decimal(100_000))
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
BALANCE = Sats(2_000_000_000)


def paper() -> tuple[Venue, Account]:
    ids = count(1)
    venue = Venue(price=START, half_spread=Decimal("0.5"), new_id=lambda: str(next(ids)), now_ms=0)
    return venue, venue.add_account(identity(1, 1), balance=BALANCE, scopes=Scope, now_ms=0)


def opened(account: Account, side: Side, quantity: int, leverage: Decimal) -> Position:
    order = NewTrade(
        type=OrderType.MARKET,
        side=side,
        leverage=leverage,
        quantity=Usd(quantity),
        margin=None,
        price=None,
        stoploss=Decimal(0),
        trailing=False,
        takeprofit=Decimal(0),
        client_id=None,
    )
    return isolated(account.isolated.create(order, 0))


def isolated(trade: Trade) -> Position:
    return shown(
        id=PositionId(trade.id),
        side=trade.side,
        quantity=trade.quantity,
        entry=trade.price,
        margin=trade.margin,
        maintenance_margin=trade.maintenance_margin,
        liquidation=trade.liquidation,
        leverage=Decimal(trade.leverage.numerator) / trade.leverage.denominator,
    )


def cross(account: Account) -> Position:
    held = account.cross.position
    assert held.entry is not None
    assert held.liquidation is not None
    return shown(
        id=CROSS,
        regime=Regime.CROSS,
        side=held.side,
        quantity=held.size,
        entry=held.entry,
        margin=Sats(held.margin - held.maintenance_margin),
        maintenance_margin=held.maintenance_margin,
        liquidation=held.liquidation,
        leverage=Decimal(held.leverage),
    )


def shown(**fields: object) -> Position:
    unset = dict.fromkeys(("stoploss", "takeprofit", "filled_at", "client_id"))
    return Position(**(unset | fields))  # type: ignore[arg-type]


def ended(trade: Trade) -> ClosedTrade:
    assert trade.exit_price is not None
    return ClosedTrade(
        id=PositionId(trade.id),
        side=trade.side,
        quantity=trade.quantity,
        margin=trade.margin,
        entry=trade.price,
        exit=trade.exit_price,
        profit=trade.realised,
        opening_fee=trade.opening_fee,
        closing_fee=trade.closing_fee,
        funding_fees=trade.sum_funding_fees,
        created_at=NOON,
        closed_at=NOON,
        client_id=None,
    )


def reduced(account: Account, position: Position, action: ReducePosition) -> Position:
    """Close and reopen the trade, as is done with what the exchange answers."""
    free = account.wallet.balance
    closed = ended(account.isolated.close(position.id, 1))
    came_back = gave_back(position, closed)
    assert account.wallet.balance == free + came_back
    rest = rest_of(position, action, closed.exit, came_back=came_back, client_id=None)
    assert pays_for_itself(rest, closed.exit, came_back)
    assert isinstance(rest.order, WantedTrade)
    assert rest.order.quantity is not None
    anew = opened(account, position.side, rest.order.quantity, rest.order.leverage)
    assert account.wallet.balance >= free, "no fresh sats"
    return anew


def reduced_on_cross(account: Account, position: Position, action: ReducePosition) -> Position:
    order = NewCrossOrder(
        side=position.side.opposite, quantity=action.quantity, price=None, client_id=None
    )
    account.cross.order(order, 1)
    return cross(account)


def check_rounds(
    position: Position,
    price: UsdPerBtc,
    metric: Metric,
    *,
    share: Fraction,
    passed: Fraction,
    reduce: Callable[[Position, ReducePosition], Position],
) -> None:
    """Act at a standing price as often as the step is reached: liquidation is farther each time."""
    value = metric.at(position, price)
    assume(0 < value < 1)
    threshold = 1 - (1 - value) * passed if metric.shrinks else value * passed
    rounds = 0
    while metric.has_reached(threshold, metric.at(position, price)):
        answer = reduction(
            position, share, price, metric=metric, threshold=threshold, step=1, why="reached"
        )
        if not isinstance(answer, ReducePosition):
            break
        distance = position.liquidation_distance_at(price)
        position = reduce(position, answer)
        assert position.liquidation_distance_at(price) > distance
        rounds += 1
    assert rounds <= 1, "one is enough"


sides = st.sampled_from(Side)
quantities = st.integers(1000, 500_000)
shares = st.fractions(Fraction(1, 100), Fraction(99, 100))
passed = st.sampled_from([Fraction(1), Fraction(9, 10), Fraction(1, 2)])
gone = st.fractions(Fraction(1, 100), Fraction(99, 100))


@given(
    side=sides,
    quantity=quantities,
    leverage=st.integers(200, 10_000).map(lambda cents: Decimal(cents) / 100),
    gone=gone,
    share=shares,
    passed=passed,
    metric=st.sampled_from(Metric),
)
def test_at_a_standing_price_a_trade_is_reduced_once_and_is_out_of_danger(
    *,
    side: Side,
    quantity: int,
    leverage: Decimal,
    gone: Fraction,
    share: Fraction,
    passed: Fraction,
    metric: Metric,
) -> None:
    venue, account = paper()
    position = opened(account, side, quantity, leverage)
    at = position.price_at_margin_used(gone)
    assert at is not None
    venue.move(nearest_tick(at), 1)
    assume(account.isolated.listed(State.RUNNING))

    check_rounds(
        position,
        venue.market.price,
        metric,
        share=share,
        passed=passed,
        reduce=lambda held, action: reduced(account, held, action),
    )


@given(
    side=sides,
    quantity=quantities,
    margin=st.fractions(Fraction(1, 8), Fraction(4, 5)),
    gone=gone,
    share=shares,
    passed=passed,
    metric=st.sampled_from([Metric.MARGIN_RATIO, Metric.LIQUIDATION_DISTANCE]),
)
def test_at_a_standing_price_the_cross_position_is_reduced_once_and_is_out_of_danger(
    *,
    side: Side,
    quantity: int,
    margin: Fraction,
    gone: Fraction,
    share: Fraction,
    passed: Fraction,
    metric: Metric,
) -> None:
    venue, account = paper()
    account.cross.deposit(Sats(int(quantity * 1000 * margin)), 0)
    account.cross.order(NewCrossOrder(side=side, quantity=Usd(quantity), price=None, client_id=None), 0)
    at = cross(account).price_at_margin_used(gone)
    assert at is not None
    venue.move(nearest_tick(at), 1)
    assume(account.cross.position.quantity)

    check_rounds(
        cross(account),
        venue.market.price,
        metric,
        share=share,
        passed=passed,
        reduce=lambda held, action: reduced_on_cross(account, held, action),
    )

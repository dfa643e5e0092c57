"""What the exchange showed at one moment, as JSON and back: a worker looks, and web shows it."""

from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from automations.prospects import Sight
from automations.reading import Seen
from exchange.account import AccountState
from exchange.cross import CrossPosition
from exchange.entries import (
    balance_of,
    balance_text,
    positions_of,
    positions_text,
    quote_of,
    quote_text,
)
from exchange.formulas import Side
from exchange.money import Sats, Usd, UsdPerBtc

_PRICES = ("entry", "liquidation")
_SATS = (
    "margin", "running_margin", "maintenance_margin", "initial_margin", "trading_fees", "funding_fees",
    "total_profit", "delta_profit",
)  # fmt: skip


def to_json(sight: Sight) -> dict[str, Any]:
    seen, account = sight.seen, sight.account
    return {
        "quote": quote_text(seen.quote),
        "positions": None if seen.positions is None else positions_text(seen.positions),
        "withCross": seen.positions is not None and seen.positions.with_cross,
        "balance": None if seen.balance is None else balance_text(seen.balance),
        "account": [account.id, account.username, account.balance, account.fee_tier],
        "askedAt": sight.asked_at.isoformat(),
        "cross": None if sight.cross is None else _cross_to_json(sight.cross),
        "needed": sight.needed,
    }


def from_json(found: dict[str, Any]) -> Sight:
    """Return the sight of what `to_json` made.

    Raises:
        ValueError, KeyError, TypeError, ArithmeticError: another version of ours has written it, say.
    """
    positions = None if found["positions"] is None else positions_of(found["positions"])
    account_id, username, balance, fee_tier = found["account"]
    return Sight(
        seen=Seen(
            quote=quote_of(found["quote"]),
            positions=positions and replace(positions, with_cross=found["withCross"]),
            balance=None if found["balance"] is None else balance_of(found["balance"]),
        ),
        account=AccountState(
            id=account_id, username=username, balance=Sats(balance), fee_tier=fee_tier
        ),
        asked_at=datetime.fromisoformat(found["askedAt"]),
        cross=None if found["cross"] is None else _cross_of_json(found["cross"]),
        needed=Sats(found["needed"]),
    )


def _cross_to_json(cross: CrossPosition) -> dict[str, Any]:
    return {
        "side": cross.side,
        "quantity": cross.quantity,
        "leverage": cross.leverage,
        "updated_at": cross.updated_at and cross.updated_at.isoformat(),
        **{name: _text(getattr(cross, name)) for name in _PRICES},
        **{name: getattr(cross, name) for name in _SATS},
    }


def _cross_of_json(found: dict[str, Any]) -> CrossPosition:
    prices: dict[str, Any] = {
        name: None if found[name] is None else UsdPerBtc(Decimal(found[name])) for name in _PRICES
    }
    amounts: dict[str, Any] = {name: Sats(found[name]) for name in _SATS}
    return CrossPosition(
        side=None if found["side"] is None else Side(found["side"]),
        quantity=Usd(found["quantity"]),
        leverage=found["leverage"],
        updated_at=found["updated_at"] and datetime.fromisoformat(found["updated_at"]),
        **prices,
        **amounts,
    )


def _text(price: UsdPerBtc | None) -> str | None:
    return None if price is None else str(price)

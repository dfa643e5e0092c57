"""Protection only ever grows."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from automations.models import Execution, TakeProfitStopLoss
from tests.stateful.committed import CROSS, ISOLATED
from tests.stateful.stage import Stage
from tests.stateful.witness import Passage


def protection_is_monotone(stage: Stage) -> None:
    """Adding margin never brings liquidation nearer; a stop is never loosened unless asked."""
    for passage in stage.passages:
        if not passage.applied:
            continue
        if passage.path == f"{ISOLATED}/add-margin":
            _check_farther(*_of_the_trade(passage))
        elif passage.path == f"{ISOLATED}/stoploss" and not _asked_to_loosen(passage):
            _check_tighter(*_of_the_trade(passage))
        elif passage.path == f"{CROSS}/deposit" and passage.before.cross["quantity"]:
            _check_farther(_as_trade(passage.before.cross), _as_trade(passage.after.cross))


def _of_the_trade(passage: Passage) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """Return the trade before and after."""
    trade = passage.params["id"]
    return passage.before.trades[trade], passage.after.trades[trade]


def _asked_to_loosen(passage: Passage) -> bool:
    """Whether its owner lets the automation loosen a stop; a guard moves its own with each top-up."""
    exits = TakeProfitStopLoss.objects.filter(pk=passage.intent.automation_id).first()
    if exits is not None:
        return exits.may_loosen
    trade, _ = _of_the_trade(passage)
    own = Execution.objects.filter(
        automation_id=passage.intent.automation_id,
        position_id=passage.params["id"],
        does=Execution.Does.SET_STOPLOSS,
        pk__lt=passage.intent.id,
    )
    return own.filter(level=Decimal(str(trade["stoploss"] or 0))).exists()


def _check_farther(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    moved = _sign(before) * (_price(after, "liquidation") - _price(before, "liquidation"))
    assert moved <= 0, f"margin was added, and liquidation came nearer by {moved}"


def _check_tighter(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    if before["stoploss"]:
        moved = _sign(before) * (_price(after, "stoploss") - _price(before, "stoploss"))
        assert after["stoploss"], "a stop was taken away"
        assert moved >= 0, f"a stop was loosened by {-moved}"


def _as_trade(cross: Mapping[str, Any]) -> dict[str, Any]:
    return {"side": "buy" if cross["quantity"] > 0 else "sell", "liquidation": cross["liquidation"]}


def _sign(trade: Mapping[str, Any]) -> int:
    return 1 if trade["side"] == "buy" else -1


def _price(trade: Mapping[str, Any], name: str) -> Decimal:
    return Decimal(str(trade[name]))

"""A preview as JSON for programs."""

from fractions import Fraction
from typing import Any

from automations.foretelling import bought, leverage, refused, sentence
from automations.previewing import Preview, Subject
from automations.prospects import Outlook
from automations.reading import plain
from automations.rehearsal import Bought, How
from automations.rules.actions import Action
from exchange.position import Position


def as_json(preview: Preview) -> dict[str, Any]:
    """Return the preview for programs: sats and dollars as integers, prices and shares as texts."""
    automation = preview.automation
    return {
        "automationId": automation.pk,
        "automation": automation.name,
        "type": automation.KIND,
        "accountId": automation.account_id,
        "accountName": automation.account.name,
        "enabled": automation.enabled,
        "shadow": automation.shadow,
        "price": plain(preview.quote.price),
        "priceSource": preview.quote.source.value,
        "priceAt": preview.quote.at.isoformat(),
        "balance": preview.balance,
        "positions": [_subject_json(subject) for subject in preview.subjects],
        "positionsLeftAlone": preview.others,
    }


def _subject_json(subject: Subject) -> dict[str, Any]:
    position = subject.position
    return {
        "position": None if position is None else {"id": position.id, **_position_json(position)},
        "closesFirst": None if subject.closes_first is None else plain(subject.closes_first),
        "ownStop": None if subject.own_stop is None else plain(subject.own_stop),
        **_bought_json(subject.bought),
        "outlooks": [_outlook_json(outlook) for outlook in subject.outlooks],
    }


def _bought_json(found: Bought | None) -> dict[str, Any]:
    """Return what a guard buys; `survivesTo` is the last price at which the position surely runs.

    Null there, with `says`, means any price; without, that it is no guard.
    """
    if found is None:
        return {}
    to, closes = found.survives_to, found.ends is not None and found.ends.how is not How.LIQUIDATED
    share = None if to is None else Fraction(to) / Fraction(found.market) - 1
    return {
        "survivesTo": None if to is None else plain(to),
        "survivesToPercent": None if share is None else _percent_text(share),
        "costsAtMost": found.costs,
        "closesAt": plain(found.ends.price) if closes and found.ends else None,
        "diesAt": plain(found.ends.price) if found.ends and not closes else None,
        "diesWithout": _price_without(found, How.LIQUIDATED),
        "stopsWithout": _price_without(found, How.STOPPED),
        "limitedBy": found.because,
        "says": bought(found),
    }


def _price_without(found: Bought, how: How) -> str | None:
    end = found.without
    return plain(end.price) if end is not None and end.how is how else None


def _outlook_json(outlook: Outlook) -> dict[str, Any]:
    return {
        "now": outlook.now,
        "price": plain(outlook.price),
        "distance": plain(outlook.distance),
        "distancePercent": _percent_text(outlook.share),
        "triggersReached": [plain(price) for price in outlook.reached],
        "acts": outlook.would_act,
        "action": None if outlook.action is None else _action_json(outlook.action),
        "wanted": outlook.wanted,
        "reason": outlook.obstacle or outlook.why,
        "tells": [tell.why for tell in outlook.tells],
        "refused": [refused(each) for each in outlook.gave_way],
        "after": _after_json(outlook),
    }


def _action_json(action: Action) -> dict[str, Any]:
    order = getattr(action, "order", None) or action
    level = getattr(action, "price", None)
    distance: Fraction | None = getattr(action, "distance", None)
    return {
        "does": action.does,
        "amount": getattr(action, "amount", None),
        "quantity": getattr(order, "quantity", None),
        "margin": getattr(order, "margin", None),
        "level": None if level is None else plain(level),
        "distance": None if distance is None else str(float(distance)),
        "says": sentence(action),
    }


def _after_json(outlook: Outlook) -> dict[str, Any] | None:
    after = outlook.after
    if after is None:
        return None
    return {
        "position": None if after.position is None else _position_json(after.position),
        "fees": after.fees,
        "profit": after.profit,
        "balance": outlook.balance_left,
        "budget": outlook.budget_left,
        "refused": after.refused,
    }


def _position_json(position: Position) -> dict[str, Any]:
    return {
        "side": position.side.value,
        "quantity": position.quantity,
        "entry": plain(position.entry),
        "leverage": leverage(position),
        "margin": position.margin,
        "liquidation": plain(position.liquidation),
        "stoploss": None if position.stoploss is None else plain(position.stoploss),
        "takeprofit": None if position.takeprofit is None else plain(position.takeprofit),
    }


def _percent_text(share: Fraction) -> str:
    return f"{float(share) * 100:.4f}"

"""What kept a guard from acting and is over: its owner is told that protection is back."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for
from accounts.models import Installation
from accounts.switch import Switch, strictest
from automations import answering, gates, journal
from automations.gate_request import Request
from automations.models import MarginGuard, Notification
from automations.models.kinds import typed
from automations.reading import read
from automations.rules.actions import AddMargin
from exchange.account import Balance
from exchange.errors import ExchangeError
from exchange.money import Sats
from exchange.position import PositionId, Regime

_MINUTE: Final = timedelta(minutes=1)
_BY_SWITCH: Final = ("halted", "reduce_only", "account_inactive")
"""Reasons of refusals that a person ends."""
_BY_TIME: Final = ("command_rate", "rate", "reductions")
"""Those that are over a minute after the last."""
_BY_MONEY: Final = ("budget_used_up", "balance", "reserve", "leverage_1")
_BY_READING: Final = ("stale", "balance_unknown")
"""Those that are over once the exchange tells it."""


def tell(now: datetime) -> None:
    """Tell guards' owners that what kept them from acting, or let them add only in part, is gone."""
    held = Q(entry__event__endswith=f"_{journal.HELD}")
    by_time = Q(entry__data__reason__in=_BY_TIME, entry__timestamp__lt=now - _MINUTE)
    others = Q(entry__data__reason__in=(*_BY_SWITCH, *_BY_MONEY, *_BY_READING, "not_accepted"))
    limited = Q(entry__event__endswith=f"_{journal.LIMITED}")
    lost = Notification.objects.filter((held & (by_time | others)) | limited, ends=True)
    held_guards = [
        (told, guard)
        for told in lost.select_related("entry__automation__account").order_by("id")
        if told.entry.automation is not None
        and isinstance(guard := typed(told.entry.automation), MarginGuard)
        and _may_act(guard)
    ]
    balances = answering.balances(guard.account for told, guard in held_guards if _asks(told))
    for told, guard in held_guards:
        if _is_over(told, guard, balances):
            _tell_over(told, guard, now)


def _asks(told: Notification) -> bool:
    """Whether only the exchange knows that it is over."""
    return told.entry.data.get("reason") not in {*_BY_SWITCH, *_BY_TIME, "not_accepted"}


def _may_act(guard: MarginGuard) -> bool:
    switches = (guard.switch, guard.account.switch, Installation.current().switch)
    return guard.account.may_act and guard.enabled and strictest(*switches) is Switch.ACTIVE


def _is_over(told: Notification, guard: MarginGuard, balances: Mapping[int, Balance]) -> bool:
    reason = told.entry.data.get("reason")
    if reason == "not_accepted":
        return guard.accepts_reopening
    if not _asks(told):
        return True
    balance = balances.get(guard.account_id)
    if balance is None:
        return False
    try:
        return _can_add(told, guard, balance, needs_money=reason not in _BY_READING)
    except (ExchangeError, SealBrokenError):
        return False  # nobody can tell


def _can_add(told: Notification, guard: MarginGuard, balance: Balance, *, needs_money: bool) -> bool:
    """Whether what was missing could be added to the position now.

    Raises:
        ExchangeError: price or position cannot be read.
        SealBrokenError: the account's key cannot be read.
    """
    client, position_id = client_for(guard.account), PositionId(told.entry.position_id)
    seen = read(
        client,
        Regime(guard.regime),
        positions_max_age_s=settings.TOP_UP_POSITIONS_MAX_AGE_S,
        position_id=position_id,
    )
    position = seen.position(position_id)
    if position is None or not needs_money:
        return position is not None
    missing = told.entry.data.get("missing") or 1
    if position.largest_top_up < missing:
        return False
    action = AddMargin(position_id=position_id, amount=Sats(missing), why=told.entry.message)
    request = Request.read(guard, action, seen, balance)
    return all(bound.left >= missing for bound in gates.bounds(request))


def _tell_over(told: Notification, guard: MarginGuard, now: datetime) -> None:
    with transaction.atomic():
        journal.lock_chain(told.account_id)
        if Notification.objects.filter(pk=told.pk, ends=True).exists():
            journal.record(
                guard,
                journal.PROTECTED_AGAIN,
                message="what kept the guard from acting is over",
                data={"reason": told.entry.data.get("reason", journal.LIMITED)},
                now=now,
                position_id=told.entry.position_id,
            )

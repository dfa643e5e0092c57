"""The use case behind every preview: what an automation would do, now and where its triggers lie.

It reads only. The exchange is read first; then the same rules and the same gates are asked as on the
path that acts, in a short transaction that is undone.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from django.db import transaction
from django.utils import timezone

from accounts import inquiries
from accounts.crypto import SealBrokenError
from accounts.gateway import client_for
from accounts.models import Account, Inquiry, held_keys
from automations import earmarking, sight_json
from automations.models import AutoEntry, MarginGuard
from automations.models.kinds import Kind, OnPosition
from automations.planning import PositionRule
from automations.prospects import Outlook, Sight, Weighing
from automations.reading import plain, read, read_price
from automations.rehearsal import Bought
from automations.remembering import memories_of
from automations.rules.actions import (
    Decision,
    SetStopLoss,
)
from automations.rules.margin_guard import GuardConfig
from automations.rules.memory import NOTHING, Memory
from automations.rules.native_stops import closes_first
from automations.triggers import Direction, Level
from exchange.client import Client
from exchange.errors import ExchangeError
from exchange.market import Quote
from exchange.money import MAX_PRICE, Sats, UsdPerBtc
from exchange.position import Position, Regime
from exchange.unreadable import Unreadable

_ANSWERED_WITHIN_S: Final = 12
"""A worker that asks an exchange which hangs gives up before."""


class CannotBeSeenError(Exception):
    """What a preview needs cannot be read; one sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A position, or for an entry none yet, and its prospects: now first, then one for each trigger."""

    position: Position | None
    outlooks: tuple[Outlook, ...]
    closes_first: UsdPerBtc | None = None
    """A native stop that closes the position before the guard acts."""
    own_stop: UsdPerBtc | None = None
    """The stop of the guard that lies with the exchange, or will."""
    bought: Bought | None = None
    """What the guard buys for the position; None: it is no guard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What one automation would do, as it is configured, in the market as it is."""

    automation: Kind
    quote: Quote
    balance: Sats
    subjects: tuple[Subject, ...]
    others: int = 0
    """Running positions that the automation leaves alone."""
    unreadable: tuple[Unreadable, ...] = ()
    """Positions that it would look at, as far as their ids tell, and that cannot be read."""

    @property
    def wants_now(self) -> tuple[tuple[Subject, Outlook], ...]:
        """What the rule asks for at once, whatever gates may say."""
        found = ((subject, outlook) for subject in self.subjects for outlook in subject.outlooks)
        return tuple(pair for pair in found if pair[1].now and pair[1].action is not None)


def preview(automation: Kind) -> Preview:
    """Return what a saved automation would do.

    Raises:
        CannotBeSeenError: the exchange cannot be read.
    """
    sight = see(automation)
    with without_trace():
        return weigh(automation, sight)


def see(automation: Kind) -> Sight:
    """Read from the exchange what a preview of the automation needs.

    A process that cannot open credentials has a worker look, and waits for that: not inside a
    transaction.

    Raises:
        CannotBeSeenError: it cannot be read.
    """
    account, opens = automation.account, isinstance(automation, AutoEntry)
    if held_keys().may_open:
        return look(account, Regime(automation.regime), opens=opens)
    asks = {"regime": automation.regime, "opens": opens}
    inquiry = inquiries.ask(account, Inquiry.Kind.SIGHT, asks)
    if not inquiries.answered(inquiry, within_s=_ANSWERED_WITHIN_S):
        raise CannotBeSeenError(
            f"{account} cannot be read: no worker answered within {_ANSWERED_WITHIN_S} s."
        )
    if inquiry.answer is None:
        raise CannotBeSeenError(inquiry.fault)
    return sight_json.from_json(inquiry.answer)


def look(account: Account, regime: Regime, *, opens: bool) -> Sight:
    """Do so with the account's own key; `opens`: for an automation that opens trades.

    Raises:
        CannotBeSeenError: it cannot be read.
    """
    try:
        return _look(account, client_for(account), regime, opens=opens)
    except SealBrokenError:
        raise CannotBeSeenError(
            "The stored key cannot be opened: enter key, secret and passphrase again."
        ) from None
    except ExchangeError as error:
        raise CannotBeSeenError(f"{account} cannot be read: {error}") from error


def _look(account: Account, client: Client, regime: Regime, *, opens: bool) -> Sight:
    # Prices and positions last: they may be the oldest, and a gate looks at their age.
    asked_at, state = timezone.now(), client.account()
    if not opens:
        return Sight(account=state, asked_at=asked_at, seen=read(client, regime))
    cross = client.rest.cross.position() if regime is Regime.CROSS else None
    needed = earmarking.needed(account, client, asked_at)
    return Sight(account=state, asked_at=asked_at, cross=cross, needed=needed, seen=read_price(client))


@contextmanager
def without_trace() -> Iterator[None]:
    """Let what is written inside be seen inside, and undo it at the end."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


def weigh(automation: Kind, sight: Sight) -> Preview:
    """Ask the rule and the gates about everything in sight."""
    if isinstance(automation, AutoEntry):
        subjects: tuple[Subject, ...] = (_of_entry(automation, sight),)
        others = 0
    else:
        positions = sight.seen.positions.positions if sight.seen.positions else ()
        covered = [each for each in positions if automation.rule(each.id).covers(each)]
        memories = memories_of(automation)
        subjects = tuple(
            _of_position(automation, each, memories.get(each.id, NOTHING), sight) for each in covered
        )
        others = len(positions) - len(covered)
    return Preview(
        automation=automation,
        quote=sight.seen.quote,
        balance=sight.account.balance,
        subjects=subjects,
        others=others,
        unreadable=tuple(_hidden_from(automation, sight)),
    )


def _hidden_from(automation: Kind, sight: Sight) -> Iterator[Unreadable]:
    if not isinstance(automation, AutoEntry) and sight.seen.positions is not None:
        yield from filter(automation.may_cover, sight.seen.positions.unreadable)


def _of_position(automation: OnPosition, position: Position, memory: Memory, sight: Sight) -> Subject:
    rule, quote = automation.rule(position.id), sight.seen.quote
    guards = isinstance(rule, GuardConfig)
    market = quote.worst_for(position.side) if guards else quote.price
    weighing = Weighing.on(automation, position, sight)
    levels = rule.levels(position, memory)
    now = weighing.outlook(_wishes(rule, position, market, memory), market, _reached(levels, market))
    held, known = _with_stop_left(now, position, memory)
    prices = _ahead(rule.levels(held, known), market)
    if guards:  # the one that comes first stands first
        prices = sorted(prices, key=lambda price: abs(price - market))
    ahead = [
        replace(weighing, position=held).outlook(_wishes(rule, held, price, known), price)
        for price in prices
    ]
    found = Subject(position=position, outlooks=(now, *ahead))
    if not isinstance(automation, MarginGuard) or not isinstance(rule, GuardConfig):
        return found
    own_stop = rule.own_stop(position, memory)
    is_ahead = own_stop is not None and position.side.sign * (market - own_stop) > 0
    return replace(
        found,
        closes_first=closes_first(position, levels, memory),
        own_stop=own_stop if is_ahead else None,
        bought=weighing.bought(automation, position, market, memory),
    )


def _wishes(
    rule: PositionRule, position: Position, price: UsdPerBtc, memory: Memory
) -> tuple[Decision, ...]:
    if isinstance(rule, GuardConfig):
        return rule.wishes(position, price, memory)
    return (rule.decide(position, price, memory),)


def _with_stop_left(now: Outlook, position: Position, memory: Memory) -> tuple[Position, Memory]:
    """Return the position, and what is remembered, once a guard left its stop with the exchange."""
    action = now.action
    if not now.would_act or not isinstance(action, SetStopLoss) or action.step is None:
        return position, memory
    left = replace(memory, stoploss=action.price, trailing=None, stop_is_own=True)
    return replace(position, stoploss=action.price, trailing=None), left


def _of_entry(entry: AutoEntry, sight: Sight) -> Subject:
    rule, market = entry.rule(), sight.seen.quote.price
    weighing = Weighing.on(entry, None, sight)
    levels = rule.levels()
    outlooks = [weighing.outlook([rule.decide(price)], price) for price in _ahead(levels, market)]
    now = weighing.outlook([rule.decide(market)], market, _reached(levels, market))
    return Subject(position=None, outlooks=(now, *outlooks))


def _is_reached(level: Level, price: UsdPerBtc) -> bool:
    return price <= level.price if level.direction is Direction.FALLING else price >= level.price


def _ahead(levels: tuple[Level, ...], market: UsdPerBtc) -> Iterable[UsdPerBtc]:
    """Return the triggers that the price has yet to reach, each once, and without idle zeros."""
    ahead = [level.price for level in levels if not _is_reached(level, market)]
    return dict.fromkeys(UsdPerBtc(Decimal(plain(price))) for price in ahead)


def _reached(levels: tuple[Level, ...], market: UsdPerBtc) -> tuple[UsdPerBtc, ...]:
    """Return the triggers that the market is beyond; "at any price" is none of them."""
    return tuple(
        level.price for level in levels if _is_reached(level, market) and level.price != MAX_PRICE
    )

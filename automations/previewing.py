"""The use case behind every preview: what an automation would do, now and where its triggers lie.

It reads only. The exchange is read first; then the same rules and the same gates are asked as on the
path that acts, in a short transaction that is undone.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from django.db import transaction
from django.utils import timezone

from accounts.crypto import SealBrokenError
from accounts.gateway import client_for
from automations import earmarking, ending, gates, services
from automations.gates import Request
from automations.models import AutoEntry, Execution, MarginGuard, Quarantine
from automations.models.kinds import Kind, OnPosition
from automations.reading import Seen, plain, read, read_price
from automations.remembering import memories_of
from automations.rules.actions import Action, AddMargin, CancelOrder, Hold, OpenPosition
from automations.rules.aftermath import Aftermath, Circumstances, foresee
from automations.rules.memory import NOTHING, Memory
from automations.rules.native_stops import closes_first
from automations.triggers import Direction, Level
from exchange.account import AccountState, Balance
from exchange.client import Client
from exchange.cross import CrossPosition
from exchange.errors import ExchangeError
from exchange.formulas import FEE_RATES
from exchange.market import Quote
from exchange.money import MAX_PRICE, Exact, Sats, UsdPerBtc
from exchange.position import Position, PositionId, Regime

_NOTHING: Final = Sats(0)


class CannotBeSeenError(Exception):
    """What a preview needs cannot be read; one sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What the exchange shows at one moment."""

    seen: Seen
    account: AccountState
    asked_at: datetime
    """When the account was asked for."""
    cross: CrossPosition | None = None
    """Read for entries on the cross position."""
    needed: Sats = _NOTHING
    """Read for entries: what guards may still add to the positions that run."""

    @property
    def balance(self) -> Balance:
        return Balance(free=self.account.balance, at=self.asked_at)

    @property
    def fee_rate(self) -> Exact:
        return FEE_RATES[min(self.account.fee_tier, len(FEE_RATES) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What would happen at one price."""

    price: UsdPerBtc
    """The market for `now`, else the trigger."""
    distance: UsdPerBtc
    """How far the price must move to get there; negative: it must fall."""
    share: Fraction
    """The same as a share of the market."""
    now: bool
    reached: tuple[UsdPerBtc, ...] = ()
    """Triggers that the market is at, or beyond; of `now` only."""
    action: Action | None = None
    """None: the rule holds."""
    wanted: Sats | None = None
    """The sats that the rule asks for, where budget or reserve allow fewer."""
    why: str
    """The rule's reason, to act or to hold."""
    obstacle: str | None = None
    """Why nothing would happen although the rule wants to act."""
    after: Aftermath | None = None
    balance_left: Sats | None = None
    budget_left: Sats | None = None
    """None: nothing bounds it."""

    @property
    def would_act(self) -> bool:
        return self.action is not None and self.obstacle is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A position, or for an entry none yet, and its prospects: now first, then one for each trigger."""

    position: Position | None
    outlooks: tuple[Outlook, ...]
    closes_first: UsdPerBtc | None = None
    """A native stop that closes the position before the guard acts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What one automation would do, as it is configured, in the market as it is."""

    automation: Kind
    quote: Quote
    balance: Sats
    subjects: tuple[Subject, ...]
    others: int = 0
    """Running positions that the automation leaves alone."""

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

    Raises:
        CannotBeSeenError: it cannot be read.
    """
    try:
        return _see(automation, client_for(automation.account))
    except SealBrokenError:
        raise CannotBeSeenError(
            "The stored key cannot be opened: enter key, secret and passphrase again."
        ) from None
    except ExchangeError as error:
        raise CannotBeSeenError(f"{automation.account} cannot be read: {error}") from error


def _see(automation: Kind, client: Client) -> Sight:
    # Prices and positions last: they may be the oldest, and a gate looks at their age.
    asked_at, account = timezone.now(), client.account()
    regime = Regime(automation.regime)
    if not isinstance(automation, AutoEntry):
        return Sight(account=account, asked_at=asked_at, seen=read(client, regime))
    cross = client.rest.cross.position() if regime is Regime.CROSS else None
    needed = earmarking.needed(automation.account, client, asked_at)
    return Sight(
        account=account, asked_at=asked_at, cross=cross, needed=needed, seen=read_price(client)
    )


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
    )


def _of_position(automation: OnPosition, position: Position, memory: Memory, sight: Sight) -> Subject:
    rule, market = automation.rule(position.id), sight.seen.quote.price
    weighing = _Weighing(automation=automation, position=position, sight=sight)
    levels = rule.levels(position, memory)
    outlooks = [
        weighing.outlook(rule.decide(position, price, memory), price)
        for price in _ahead(levels, market)
    ]
    now = weighing.outlook(rule.decide(position, market, memory), market, _reached(levels, market))
    guards = isinstance(automation, MarginGuard)
    stop = closes_first(position, levels, memory) if guards else None
    return Subject(position=position, outlooks=(now, *outlooks), closes_first=stop)


def _of_entry(entry: AutoEntry, sight: Sight) -> Subject:
    rule, market = entry.rule(), sight.seen.quote.price
    weighing = _Weighing(automation=entry, position=None, sight=sight)
    levels = rule.levels()
    outlooks = [weighing.outlook(rule.decide(price), price) for price in _ahead(levels, market)]
    now = weighing.outlook(rule.decide(market), market, _reached(levels, market))
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Weighing:
    """One automation before one position, or before none."""

    automation: Kind
    position: Position | None
    sight: Sight

    def outlook(
        self, decision: Action | Hold, price: UsdPerBtc, reached: tuple[UsdPerBtc, ...] | None = None
    ) -> Outlook:
        """Return what comes of a decision at a price; `reached` is given for the market's own."""
        market = self.sight.seen.quote.price
        distance = UsdPerBtc(price - market)
        share = Fraction(distance) / Fraction(market)
        now = reached is not None
        if isinstance(decision, Hold):
            return Outlook(
                price=price,
                distance=distance,
                share=share,
                now=now,
                reached=reached or (),
                why=decision.reason,
            )
        request = self._request(decision, price)
        obstacle = self._obstacle(request)
        action = decision if obstacle else gates.limited(request)
        assert not isinstance(action, CancelOrder)
        after = None if obstacle else self._after(action, price)
        return Outlook(
            price=price,
            distance=distance,
            share=share,
            now=now,
            reached=reached or (),
            action=action,
            wanted=_cut_from(decision, action),
            why=decision.why,
            obstacle=obstacle,
            after=after,
            balance_left=None
            if after is None
            else Sats(self.sight.account.balance + after.balance_change),
            budget_left=None if obstacle else _left(request, action),
        )

    def _request(self, action: Action, price: UsdPerBtc) -> Request:
        """Return it as once the automation is enabled: who looks first enables it afterwards."""
        seen = self.sight.seen
        request = Request.read(
            self.automation,
            action,
            replace(seen, quote=replace(seen.quote, price=price)),
            self.sight.balance,
        )
        return replace(request, condition=replace(request.condition, enabled=True))

    def _obstacle(self, request: Request) -> str | None:
        """Return what stands in the way, in the order in which the path that acts asks."""
        position_id = PositionId(request.position_id) if request.position_id else None
        if Quarantine.objects.on(position_id).filter(automation_id=self.automation.pk).exists():
            return "it is quarantined"
        latest = services.latest_on(self.automation, position_id)
        if latest is not None and latest.state in Execution.UNSETTLED:
            return "an earlier action is not settled yet"
        if isinstance(self.automation, AutoEntry):
            word = ending.over(self.automation) or self._taken_from_guards(request)
            if word is not None:
                return word
        refused = gates.refusal(request)
        return None if refused is None else refused.because

    def _taken_from_guards(self, request: Request) -> str | None:
        assert isinstance(request.action, OpenPosition)
        return earmarking.takes_from_guards(
            request.action,
            request.seen.quote.price,
            free=self.sight.account.balance,
            need=self.sight.needed,
        )

    def _after(self, action: Action, price: UsdPerBtc) -> Aftermath:
        at = Circumstances(
            price=price,
            fee_rate=self.sight.fee_rate,
            position=self.position,
            cross=self.sight.cross,
        )
        return foresee(action, at)


def _cut_from(wanted: Action, action: Action) -> Sats | None:
    if isinstance(wanted, AddMargin) and isinstance(action, AddMargin) and action != wanted:
        return wanted.amount
    return None


def _left(request: Request, action: Action) -> Sats | None:
    left = gates.allowance(request)
    return (
        None if left is None else Sats(left - (gates.spending(action, request.seen.quote.price) or 0))
    )

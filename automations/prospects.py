"""What an automation would do at one price, and what follows: asked of its gates as they stand now."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from fractions import Fraction
from typing import Final, Self

from django.utils import timezone

from automations import earmarking, ending, gates, rehearsal, services
from automations.account_book import AccountBook
from automations.condition import Condition
from automations.deciding import Guard
from automations.gate_request import Refusal, Request
from automations.gates import Choice
from automations.models import AutoEntry, Execution, MarginGuard, Quarantine
from automations.models.kinds import Kind
from automations.reading import Seen
from automations.rehearsal import Bought
from automations.rules.actions import (
    Action,
    AddMargin,
    CancelOrder,
    Decision,
    Hold,
    Notify,
    OpenPosition,
)
from automations.rules.aftermath import Aftermath, Circumstances, foresee
from automations.rules.memory import Memory
from exchange.account import AccountState, Balance
from exchange.cross import CrossPosition
from exchange.formulas import FEE_RATES
from exchange.money import Exact, Sats, UsdPerBtc
from exchange.position import Position, PositionId

_NOTHING: Final = Sats(0)


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
    tells: tuple[Notify, ...] = ()
    """What the owner is told there, besides."""
    gave_way: tuple[Refusal, ...] = ()
    """What is refused there, besides."""
    after: Aftermath | None = None
    balance_left: Sats | None = None
    budget_left: Sats | None = None
    """None: nothing bounds it."""

    @property
    def would_act(self) -> bool:
        return self.action is not None and self.obstacle is None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weighing:
    """One automation before one position, or before none."""

    automation: Kind
    position: Position | None
    sight: Sight
    condition: Condition
    """As once the automation is enabled: who looks first enables it afterwards."""
    obstacle: str | None
    """What stands in the way before any gate is asked."""

    @classmethod
    def on(cls, automation: Kind, position: Position | None, sight: Sight) -> Self:
        position_id = position.id if position else None
        condition = Condition.read(
            automation, position_id or "", now=timezone.now(), asked_at=sight.asked_at
        )
        return cls(
            automation=automation,
            position=position,
            sight=sight,
            condition=replace(condition, enabled=True),
            obstacle=_obstacle(automation, position_id),
        )

    def outlook(
        self,
        wishes: Sequence[Decision | OpenPosition],
        price: UsdPerBtc,
        reached: tuple[UsdPerBtc, ...] | None = None,
    ) -> Outlook:
        """Return what comes of wishes at a price; `reached` is given for the market's own."""
        market = self.sight.seen.quote.price
        distance = UsdPerBtc(price - market)
        held = Outlook(
            price=price,
            distance=distance,
            share=Fraction(distance) / Fraction(market),
            now=reached is not None,
            reached=reached or (),
            why=next((wish.reason for wish in wishes if isinstance(wish, Hold)), ""),
        )
        request = self._request(wishes, price)
        if request is None:
            return replace(held, gave_way=tuple(gates.declined(wishes))[1:])
        choice = self._chosen(request, wishes)
        action = choice.action or next(iter(choice.tells), None)
        if action is None:
            return self._refused(held, choice)
        assert not isinstance(action, CancelOrder)
        others = tuple(tell for tell in choice.tells if tell is not action)
        shown = replace(held, action=action, why=action.why, tells=others, gave_way=choice.refusals)
        return self._followed(shown, action, request)

    def _refused(self, held: Outlook, choice: Choice) -> Outlook:
        """Return the first wish with what stands before it, and the others after it."""
        first = next((refused for refused in choice.refusals if refused.wish), choice.refusals[0])
        others = tuple(refused for refused in choice.refusals if refused is not first)
        assert not isinstance(first.wish, CancelOrder)
        return replace(
            held,
            action=first.wish,
            why=first.wish.why if first.wish else first.because,
            obstacle=first.because,
            gave_way=others,
        )

    def _followed(self, shown: Outlook, action: Action, request: Request) -> Outlook:
        after = self._after(action, shown.price)
        return replace(
            shown,
            wanted=action.wanted if isinstance(action, AddMargin) else None,
            after=after,
            balance_left=Sats(self.sight.account.balance + after.balance_change),
            budget_left=_left(request, action),
        )

    def _request(self, wishes: Iterable[Decision | OpenPosition], price: UsdPerBtc) -> Request | None:
        """Return what to ask the gates; None where nothing is wished for."""
        first = next((wish for wish in wishes if not isinstance(wish, Hold)), None)
        if first is None:
            return None
        seen = self.sight.seen
        return Request(
            automation=self.automation,
            action=first,
            seen=replace(seen, quote=replace(seen.quote, price=price)),
            now=timezone.now(),
            condition=self.condition,
            balance=self.sight.balance,
        )

    def _chosen(self, request: Request, wishes: Sequence[Decision | OpenPosition]) -> Choice:
        """Return what is done, in the order in which the path that acts asks."""
        obstacle = self.obstacle
        if obstacle is None and isinstance(self.automation, AutoEntry):
            obstacle = self._taken_from_guards(request)
        if obstacle is not None:
            return Choice(refusals=(request.refuse("obstacle", obstacle),))
        return gates.choose(request, wishes)

    def bought(
        self, guard: MarginGuard, position: Position, market: UsdPerBtc, memory: Memory
    ) -> Bought:
        """Return what the guard buys, with the money that it has; what is unsettled counts as spent."""
        if self.obstacle is not None:
            return rehearsal.nothing(position, market, memory, because=self.obstacle)
        standing = replace(
            self.condition, acts=(), unsettled=(), commands=0, guard_commands=0, reductions=0
        )
        book = AccountBook(self.sight.account.balance, standing)
        return rehearsal.rehearse(
            Guard(guard, book, position.id), position, market, memory, fee_rate=self.sight.fee_rate
        )

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


def _obstacle(automation: Kind, position_id: PositionId | None) -> str | None:
    if Quarantine.objects.on(position_id).filter(automation_id=automation.pk).exists():
        return "it is quarantined"
    if not isinstance(automation, AutoEntry):
        return None
    latest = services.latest_on(automation, position_id)
    if latest is not None and latest.state in Execution.UNSETTLED:
        return "an earlier action is not settled yet"
    return ending.over(automation)


def _left(request: Request, action: Action) -> Sats | None:
    left = gates.allowance(request)
    return (
        None if left is None else Sats(left - (gates.spending(action, request.seen.quote.price) or 0))
    )

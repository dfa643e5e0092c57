"""The live rule, gates and budgets of a guard in simulated time, on tables that need not be saved."""

from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction

from accounts.models import Account
from automations import budgets, gates
from automations.account_book import AccountBook, moment
from automations.gate_request import Request
from automations.gates import Choice
from automations.models import GuardStep, MarginGuard
from automations.reading import Seen
from automations.rules.actions import Decision, Hold
from automations.rules.margin_guard import AddToReach, Close, GuardConfig, Step
from automations.rules.presets import Preset
from exchange.account import Balance
from exchange.market import Quote, Source
from exchange.money import Sats, UsdPerBtc
from exchange.position import Position, PositionId, PositionsSnapshot, Regime

_NUMBER = 1
"""Of a guard that is not saved."""


class Guard:
    """A guard as its tables say, and what the gates let it do.

    Args:
        guard: its tables, with its steps.
        book: what it did, and what bounds it.
        position_id: the only position it looks at, whose own thresholds count; None: any.
    """

    def __init__(
        self, guard: MarginGuard, book: AccountBook, position_id: PositionId | None = None
    ) -> None:
        self.book = book
        self._table = guard
        self.rule: GuardConfig = guard.rule(position_id)

    def budget_of(self, position: Position) -> Sats:
        """Return what all top-ups of the position together may cost."""
        found = budgets.per_position(self._table, position)
        assert found is not None, "each preset has a budget"
        return found

    def choose(
        self,
        wishes: Sequence[Decision],
        position: Position,
        price: UsdPerBtc,
        *,
        priced_ms: int,
        known_ms: int,
        now_ms: int,
    ) -> Choice:
        """Ask the live gates.

        Args:
            wishes: what the rule asks for, in its order.
            position: as it is known.
            price: the price of the look.
            priced_ms: since when it is the price.
            known_ms: when the position was read, or answered.
            now_ms: when the gates are asked.
        """
        first = next((wish for wish in wishes if not isinstance(wish, Hold)), None)
        if first is None:
            return Choice(refusals=tuple(gates.declined(wishes)))
        balance = Balance(free=self.book.free, at=moment(0))
        request = Request(
            automation=self._table,
            action=first,
            seen=Seen(
                quote=Quote(price=price, at=moment(priced_ms), time_ms=priced_ms, source=Source.STREAM),
                positions=PositionsSnapshot(
                    positions=(position,), at=moment(known_ms), source=Source.REST
                ),
                balance=balance,
            ),
            now=moment(now_ms),
            condition=self.book.condition(position.id, now_ms),
            balance=balance,
        )
        return gates.choose(request, wishes)


def table(preset: Preset, regime: Regime, account: Account) -> MarginGuard:
    """Return what a preset makes of a guard's tables, with its steps."""
    guard = MarginGuard(
        pk=_NUMBER,
        account=account,
        regime=regime.value,
        metric=preset.metric.value,
        budget_per_position_percent=_percent(preset.budget),
        backstop=preset.backstop,
        cooldown_s=preset.cooldown_s,
    )
    guard.take_steps([_step(guard, step) for step in preset.steps], ())
    return guard


def _step(guard: MarginGuard, step: Step) -> GuardStep:
    target_percent: Decimal | None = None
    match step.response:
        case AddToReach(target=target):
            does, target_percent = GuardStep.Does.ADD_TO_REACH, _percent(target)
        case Close():
            does = GuardStep.Does.CLOSE
        case _:
            raise NotImplementedError(f"no preset has {step.response}")
    return GuardStep(
        pk=step.number,
        guard=guard,
        threshold_percent=_percent(step.threshold),
        does=does,
        target_percent=target_percent,
    )


def _percent(share: Fraction) -> Decimal:
    return Decimal(share.numerator * 100) / Decimal(share.denominator)

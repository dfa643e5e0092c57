"""Every write to the exchange, each with an automation that asks for it: drawn by a seed, and real."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any, Final

from django.utils import timezone

from accounts.gateway import client_for
from accounts.models import Account
from automations import services
from automations.models import AutoEntry, Execution, GuardStep, MarginGuard, TakeProfitStopLoss
from automations.reading import read
from exchange.client import Client
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.position import CROSS, Position, PositionId, Regime
from exchange.simulator.running import Simulator
from exchange.trade import NewTrade
from tests.automations.acting import (
    ADD_MARGIN,
    CLOSE,
    CROSS_CLOSE,
    CROSS_ORDER,
    DEPOSIT,
    ISOLATED,
    STOPLOSS,
    SWEEP,
    TAKEPROFIT,
    and_read_back,
    move,
)

START: Final = 100_000
_LATER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """An account that nobody used before, on a paper exchange whose price stands at `START`."""

    venue: Simulator
    account: Account
    draws: Random

    @property
    def client(self) -> Client:
        return client_for(self.account)

    @property
    def key(self) -> str:
        return self.account.credentials().key

    def effects(self, path: str) -> int:
        """Count what truly happened on the account, at the exchange."""
        return sum(
            write.applied and write.path == path and write.account == self.key
            for write in self.venue.writes()
        )

    def sees(self) -> None:
        """Have in the live view what is decided on, so that a look asks for nothing first."""
        for regime in Regime:
            read(self.client, regime)
        self.client.balance()

    def opened(self) -> Position:
        """Open a long or a short of 500 to 3,000 USD at 8x to 20x."""
        trade = self.client.open_trade(
            NewTrade(
                side=self.draws.choice(list(Side)),
                leverage=Decimal(self.draws.randint(8, 20)),
                quantity=Usd(self.draws.randrange(500, 3_000)),
            )
        )
        assert isinstance(trade, Position)
        return trade

    def opened_cross(self) -> Position:
        """Hold 1,000 to 2,000 USD with 500,000 sats of margin."""
        cross = self.client.rest.cross
        cross.deposit(Sats(500_000))
        side = self.draws.choice(list(Side))
        cross.order(NewCrossOrder(side=side, quantity=Usd(self.draws.randrange(1_000, 2_000))))
        position = cross.position().running()
        assert position is not None
        return position

    def goes_against(self, position: Position, share: Decimal) -> None:
        """Move the price by a share of the way from the entry to liquidation."""
        move(self.venue, _on_grid(position.entry + (position.liquidation - position.entry) * share))

    def guard(self, regime: str = "isolated", **step: Any) -> MarginGuard:
        """Act once a fifth of the margin is lost, or liquidation on cross is nearer than 60 %."""
        metric = "margin_used" if regime == "isolated" else "liquidation_distance"
        made = MarginGuard.objects.create(
            enabled=True, account=self.account, name="guard", regime=regime, metric=metric,
            accepts_reopening=True, backstop=False, cooldown_s=3600,
        )  # fmt: skip
        made.steps.create(threshold_percent=20 if regime == "isolated" else 60, **step)
        return made

    def exits(self, **fields: Any) -> TakeProfitStopLoss:
        return TakeProfitStopLoss.objects.create(
            enabled=True, account=self.account, name="exits", trigger_pnl_percentage=20, **fields
        )

    def entry(self, **fields: Any) -> AutoEntry:
        usual: dict[str, Any] = {"side": "buy", "quantity": self.draws.randrange(100, 1_000)}
        return AutoEntry.objects.create(
            enabled=True, account=self.account, name="entry", **(usual | fields)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a worker is told to look at, and the write that it then has to make, once."""

    automation_id: int
    position_id: PositionId | None

    def look(self) -> str:
        """Look as a worker does that was sent here by the sweep; return its word."""
        answer = services.act(self.automation_id, self.position_id, SWEEP)
        return str(and_read_back(answer)["status"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    name: str
    path: str
    arm: Callable[[Scene], Asked]
    """Set the scene: the next look asks for this write, and the one after it for nothing more."""


def _guarding(**step: Any) -> Callable[[Scene], Asked]:
    def arm(scene: Scene) -> Asked:
        position = scene.opened()
        guard = scene.guard(**step)
        scene.goes_against(position, Decimal(scene.draws.randint(40, 80)) / 100)
        return Asked(automation_id=guard.pk, position_id=position.id)

    return arm


def _guarding_cross(**step: Any) -> Callable[[Scene], Asked]:
    def arm(scene: Scene) -> Asked:
        position = scene.opened_cross()
        guard = scene.guard("cross", **step)
        scene.goes_against(position, Decimal(scene.draws.randint(30, 60)) / 100)
        return Asked(automation_id=guard.pk, position_id=CROSS)

    return arm


def _exiting(share: str, **fields: Any) -> Callable[[Scene], Asked]:
    def arm(scene: Scene) -> Asked:
        position = scene.opened()
        exits = scene.exits(**fields)
        scene.goes_against(position, Decimal(share))
        return Asked(automation_id=exits.pk, position_id=position.id)

    return arm


def _entering(**fields: Any) -> Callable[[Scene], Asked]:
    def arm(scene: Scene) -> Asked:
        if fields.get("regime") == "cross":
            scene.client.rest.cross.deposit(Sats(500_000))
        return Asked(automation_id=scene.entry(**fields).pk, position_id=None)

    return arm


def _expiring(**fields: Any) -> Callable[[Scene], Asked]:
    def arm(scene: Scene) -> Asked:
        placed = _entering(
            trigger_type="limit", trigger_price=Decimal(95_000), expires_at=timezone.now() + _LATER,
            **fields,
        )(scene)  # fmt: skip
        assert placed.look() == "placed"
        AutoEntry.objects.filter(pk=placed.automation_id).update(expires_at=timezone.now())
        order = Execution.objects.get(automation_id=placed.automation_id).position_id
        return Asked(automation_id=placed.automation_id, position_id=PositionId(order))

    return arm


def _on_grid(price: Decimal) -> str:
    return str((price * 2).to_integral_value() / 2)


WRITES: Final = (
    Write(
        name="add margin",
        path=ADD_MARGIN,
        arm=_guarding(does=GuardStep.Does.ADD_FIXED, amount_sats=20_000),
    ),
    Write(name="close", path=CLOSE, arm=_guarding(does=GuardStep.Does.CLOSE)),
    Write(
        name="close to reduce",
        path=CLOSE,
        arm=_guarding(does=GuardStep.Does.REDUCE, reduce_percentage=50),
    ),
    Write(
        name="open the rest",
        path=ISOLATED,
        arm=_guarding(does=GuardStep.Does.REDUCE, reduce_percentage=50),
    ),
    Write(
        name="move the stop",
        path=STOPLOSS,
        arm=_exiting("0.1", does="close_sl", when="loss", on_exchange=True),
    ),
    Write(
        name="trail the stop",
        path=STOPLOSS,
        arm=_exiting("-0.5", does="update_sl", level="trailing", distance_percent=2),
    ),
    Write(
        name="move the take profit",
        path=TAKEPROFIT,
        arm=_exiting("-0.1", does="close_tp", when="profit", on_exchange=True),
    ),
    Write(name="open", path=ISOLATED, arm=_entering()),
    Write(
        name="open at a limit",
        path=ISOLATED,
        arm=_entering(trigger_type="limit", trigger_price=Decimal(95_000)),
    ),
    Write(name="open on cross", path=CROSS_ORDER, arm=_entering(regime="cross")),
    Write(name="cancel", path=f"{ISOLATED}/cancel", arm=_expiring()),
    Write(name="cancel on cross", path="/v3/futures/cross/order/cancel", arm=_expiring(regime="cross")),
    Write(
        name="deposit",
        path=DEPOSIT,
        arm=_guarding_cross(does=GuardStep.Does.ADD_FIXED, amount_sats=20_000),
    ),
    Write(
        name="reduce cross",
        path=CROSS_ORDER,
        arm=_guarding_cross(does=GuardStep.Does.REDUCE, reduce_percentage=40),
    ),
    Write(name="close cross", path=CROSS_CLOSE, arm=_guarding_cross(does=GuardStep.Does.CLOSE)),
)

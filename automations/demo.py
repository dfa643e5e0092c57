"""The demo: paper accounts with positions near liquidation, each once guarded and once not."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django.contrib.auth.models import User

from accounts import services
from accounts.gateway import client_for
from accounts.models import Account, fingerprint
from automations.models import GuardStep, MarginGuard
from automations.rules.metric import Metric
from exchange.auth import Credentials
from exchange.client import Client
from exchange.config import Network
from exchange.formulas import Side
from exchange.money import Usd
from exchange.trade import NewTrade

OWNER: Final = "demo"


class DemoError(Exception):
    """The demo cannot be set up; one sentence says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """A guard of one step."""

    name: str
    metric: str
    step: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One account of the demo. Its leverage says how small a move brings liquidation near."""

    name: str
    leverage: int
    guard: Guard | None = None
    """None: what becomes of the same positions when nobody guards them."""


PARTS: Final = [
    Part(
        name="Demo at 25x",
        leverage=25,
        guard=Guard(
            name="Keep the loss below half of the margin",
            metric=Metric.MARGIN_USED,
            step={
                "threshold_percent": Decimal(50),
                "does": GuardStep.Does.ADD_TO_REACH,
                "target_percent": Decimal(35),
            },
        ),
    ),
    Part(
        name="Demo at 50x",
        leverage=50,
        guard=Guard(
            name="Keep liquidation 1 % away",
            metric=Metric.LIQUIDATION_DISTANCE,
            step={
                "threshold_percent": Decimal(1),
                "does": GuardStep.Does.ADD_FIXED,
                "amount_sats": 20_000,
            },
        ),
    ),
    Part(name="Demo at 25x without a guard", leverage=25),
    Part(name="Demo at 50x without a guard", leverage=50),
]


def set_up(keys: Sequence[Credentials]) -> None:
    """Bring the demo to its beginning; what is there already is kept.

    Raises:
        DemoError: there are too few keys, or the paper exchange does not answer.
        ExchangeError: a position could not be opened.
    """
    if len(keys) < len(PARTS):
        raise DemoError(f"The demo needs {len(PARTS)} paper accounts, and was given {len(keys)}.")
    owner, _ = User.objects.get_or_create(username=OWNER)
    for part, credentials in zip(PARTS, keys, strict=False):
        account = _account(owner, part, credentials)
        verdict = services.verify(account)
        if isinstance(verdict, services.NotVerified):
            raise DemoError(verdict.fault)
        _open_positions(client_for(account), part)
        if part.guard is not None:
            _guard(account, part.guard)


def _account(owner: User, part: Part, credentials: Credentials) -> Account:
    """Return the account that has this key, else that name: a person may have renamed it."""
    named = Account.objects.filter(owner=owner, name=part.name)
    holder = Account.objects.filter(network=Network.PAPER, key_fingerprint=fingerprint(credentials.key))
    account = holder.first() or named.first() or Account(owner=owner, name=part.name)
    account.network = Network.PAPER
    account.set_credentials(credentials)
    account.save()
    return account


def _guard(account: Account, wanted: Guard) -> None:
    guard, made = MarginGuard.objects.get_or_create(
        account=account, name=wanted.name, defaults={"metric": wanted.metric, "enabled": True}
    )
    if made:
        guard.steps.create(**wanted.step)


def _open_positions(client: Client, part: Part) -> None:
    """Open one position each way, so that a guard has work whichever way the price goes."""
    if client.rest.running_trades():
        return
    for side in Side:
        client.open_trade(NewTrade(side=side, leverage=Decimal(part.leverage), quantity=Usd(1000)))

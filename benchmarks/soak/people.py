"""Who lives through a soak: accounts with guards, exits and entries, and their owners' hands.

The first few accounts are pulses: their danger never ends, so that a guard adds a little margin every
other second. While a pulse beats, everything between a price and an order works; it is counted at the
exchange.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random
from typing import TYPE_CHECKING, Final

from benchmarks.platform import unlimited
from exchange.auth import Credentials
from exchange.config import Endpoints
from exchange.errors import ExchangeError
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.rest import RestClient
from exchange.serverclock import ServerClock
from exchange.trade import NewTrade

if TYPE_CHECKING:
    from accounts.models import Account

PULSES: Final = 4
PULSE_S: Final = 2
BY_HAND: Final = Sats(1_111)
"""No automation adds this much."""
_FEWEST: Final = 2
"""Positions of an account; its owner opens another one where there are less."""


@dataclass(slots=True, kw_only=True)
class Person:
    number: int
    account: "Account"
    key: str
    client: RestClient = field(repr=False)
    """The owner's own way to the exchange, past our limits and past what goes wrong on the way."""
    closed: Counter[str] = field(default_factory=Counter)
    """By hand, by id."""
    tried: Counter[str] = field(default_factory=Counter)
    """Likewise, those among them that failed as far as the owner knows."""

    @property
    def is_pulse(self) -> bool:
        return self.number < PULSES


def settle(keys: Sequence[Credentials], endpoints: Endpoints, draws: Random) -> list[Person]:
    """Make accounts of the keys, with positions and automations on them."""
    from django.contrib.auth.models import User  # noqa: PLC0415 - Django is ready only now
    from django.utils import timezone  # noqa: PLC0415

    from accounts.models import Account  # noqa: PLC0415

    owner, _ = User.objects.get_or_create(username="soak")
    clock, people = ServerClock(), []
    for number, credentials in enumerate(keys):
        account = Account(owner=owner, name=f"account {number}", network="paper")
        account.set_credentials(credentials)
        account.verified_at = timezone.now()
        account.save()
        client = RestClient(endpoints, credentials, limiter=unlimited(), server_clock=clock)
        person = Person(number=number, account=account, key=credentials.key, client=client)
        people.append(person)
        if person.is_pulse:
            client.open_trade(NewTrade(side=Side.BUY, leverage=Decimal(3), quantity=Usd(1000)))
            _pulse(account)
            continue
        for _ in range(_FEWEST):
            _open(person, draws)
        _guard(account)
        _exit(account, number)
        _enter(account, draws)
    return people


def hands(people: Sequence[Person], draws: Random) -> None:
    """Let one owner do something by hand: open, close or top up."""
    person = draws.choice(people[PULSES:])
    with suppress(ExchangeError):
        running = person.client.running_trades()
        if len(running) < _FEWEST:
            _open(person, draws)
        elif draws.random() < 0.5:
            person.client.add_margin(draws.choice(running).id, BY_HAND)
        else:
            chosen = draws.choice(running)
            person.tried[str(chosen.id)] += 1
            person.client.close(chosen.id)
            person.closed[str(chosen.id)] += 1


def _open(person: Person, draws: Random) -> None:
    side, leverage = draws.choice(list(Side)), Decimal(draws.randint(8, 15))
    person.client.open_trade(NewTrade(side=side, leverage=leverage, quantity=Usd(500)))


def _pulse(account: "Account") -> None:
    from automations.models import GuardStep, MarginGuard  # noqa: PLC0415

    guard = MarginGuard.objects.create(
        enabled=True, account=account, name="pulse", metric="liquidation_distance", backstop=False,
        cooldown_s=PULSE_S, budget_per_position_percent=Decimal(100_000),
    )  # fmt: skip
    guard.steps.create(threshold_percent=90, does=GuardStep.Does.ADD_FIXED, amount_sats=200)


def _guard(account: "Account") -> None:
    from automations.models import GuardStep, MarginGuard  # noqa: PLC0415

    guard = MarginGuard.objects.create(enabled=True, account=account, name="guard")
    guard.steps.create(
        threshold_percent=50, does=GuardStep.Does.ADD_TO_REACH, target_percent=Decimal(35)
    )
    guard.steps.create(threshold_percent=85, does=GuardStep.Does.CLOSE)


def _exit(account: "Account", number: int) -> None:
    from automations.models import TakeProfitStopLoss  # noqa: PLC0415

    fields = [
        {"does": "close_tp", "when": "profit", "on_exchange": False},
        {"does": "close_tp", "when": "profit", "on_exchange": True},
        {"does": "update_sl", "level": "trailing", "distance_percent": 2},
    ][number % 3]
    TakeProfitStopLoss.objects.create(
        enabled=True, account=account, name="exits", trigger_pnl_percentage=20, **fields
    )


def _enter(account: "Account", draws: Random) -> None:
    from automations.models import AutoEntry  # noqa: PLC0415

    AutoEntry.objects.create(
        enabled=True, account=account, name="entry", side=draws.choice(["buy", "sell"]), quantity=100,
        most_times=1_000, pause_s=120,
    )  # fmt: skip

"""What a guard's form and table refuse."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.models import Account
from automations.models import Execution, MarginGuard
from exchange.auth import Credentials

param = pytest.param
pytestmark = pytest.mark.django_db


@pytest.fixture
def account() -> Account:
    owner = User.objects.create_user("owner")
    account = Account(owner=owner, name="first", network="paper")
    account.set_credentials(Credentials(key="key-1234", secret="s", passphrase="p"))
    account.save()
    return account


def guard(on: Account, **changes: Any) -> MarginGuard:
    fields: dict[str, Any] = {
        "account": on,
        "name": "guard",
        "metric": "margin_used",
        "threshold_percent": Decimal(70),
        "does": "add_fixed",
        "amount_sats": 1000,
    }
    return MarginGuard(**(fields | changes))


@pytest.mark.parametrize(
    ("changes", "field", "says"),
    [
        param({"threshold_percent": None}, "threshold_percent", "cannot be null", id="none"),
        param({"threshold_percent": "abc"}, "threshold_percent", "decimal number", id="a word"),
        param({"threshold_percent": Decimal(0)}, "threshold_percent", "more than 0 %", id="zero"),
        param({"threshold_percent": Decimal(-5)}, "threshold_percent", "more than 0 %", id="below"),
        param({"threshold_percent": Decimal(101)}, "threshold_percent", "100 %", id="above 100"),
        param({"metric": "mood"}, "metric", "not a valid choice", id="unknown metric"),
        param({"does": "pray"}, "does", "not a valid choice", id="unknown action"),
        param({"amount_sats": None}, "amount_sats", "how many sats", id="no amount"),
        param({"amount_sats": -1}, "amount_sats", "greater than or equal to 0", id="negative amount"),
        param({"does": "add_to_reach"}, "target_percent", "which value", id="no target"),
        param(
            {"does": "add_to_reach", "target_percent": Decimal(80)},
            "target_percent", "below the threshold", id="target beyond the threshold",
        ),
        param(
            {"metric": "liquidation_distance", "does": "add_to_reach", "target_percent": Decimal(1)},
            "target_percent", "larger distance", id="target nearer than the threshold",
        ),
        param(
            {"budget_per_day_sats": 0}, "budget_per_day_sats", "budget of zero", id="no budget a day"
        ),
        param({"cooldown_s": 0}, "cooldown_s", "greater than or equal to 1", id="no cooldown"),
        param({"account": None}, "account", "cannot be null", id="no account"),
        param({"name": ""}, "name", "cannot be blank", id="no name"),
    ],
)  # fmt: skip
def test_a_wrong_field_gets_its_message(
    account: Account, changes: dict[str, Any], field: str, says: str
) -> None:
    with pytest.raises(ValidationError) as refused:
        guard(account, **changes).full_clean()

    assert says in " ".join(refused.value.message_dict[field])


def test_a_guard_that_closes_needs_neither_amount_nor_budget(account: Account) -> None:
    guard(
        account,
        does="close_position",
        amount_sats=None,
        budget_per_position_sats=0,
        budget_per_day_sats=0,
    ).full_clean()


def execution(of: MarginGuard, **changes: Any) -> Execution:
    now = timezone.now()
    fields: dict[str, Any] = {
        "account": of.account,
        "automation": of,
        "position_id": "p1",
        "does": "add_margin",
        "amount_sats": 1000,
        "why": "test",
        "origin": "tick",
        "price": Decimal(95_000),
        "price_at": now,
        "price_source": "stream",
        "positions_at": now,
        "positions_source": "rest",
        "margin_before": 100_000,
        "funding_before": 0,
        "liquidation_before": Decimal(90_909),
        "ratio_before": Decimal("0.02"),
        "decided_at": now,
    }
    return Execution.objects.create(**(fields | changes))


def test_a_position_has_at_most_one_unsettled_execution_of_an_automation(account: Account) -> None:
    mine = guard(account)
    mine.save()
    execution(mine)

    with transaction.atomic(), pytest.raises(IntegrityError, match="one_unsettled_execution"):
        execution(mine, state="unknown")
    execution(mine, position_id="p2")
    execution(mine, state="confirmed", settled_at=timezone.now())


@pytest.mark.parametrize(
    ("changes", "promise"),
    [
        param({"amount_sats": None}, "execution_adds_sats_or_closes", id="adds nothing"),
        param({"does": "close_position"}, "execution_adds_sats_or_closes", id="closes with sats"),
        param({"state": "confirmed"}, "execution_is_settled_when", id="final, never settled"),
    ],
)
def test_the_database_refuses_an_execution_that_cannot_be(
    account: Account, changes: dict[str, Any], promise: str
) -> None:
    mine = guard(account)
    mine.save()

    with pytest.raises(IntegrityError, match=promise):
        execution(mine, **changes)

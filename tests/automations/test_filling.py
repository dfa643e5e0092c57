"""Presets on the guard's form: filled in from the account's positions, nothing saved."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client as Browser
from pytest_django.fixtures import Settings

from accounts.models import Account
from automations.filling import PRESET
from automations.models import GuardStep, MarginGuard
from automations.rules.presets import PresetName
from exchange.client import Client
from exchange.config import Network
from exchange.cross import NewCrossOrder
from exchange.formulas import Side
from exchange.money import Sats, Usd
from exchange.position import Position
from exchange.simulator.running import Simulator
from exchange.trade import NewTrade
from tests.automations.typing_in import GUARD, TYPED, add, change, said_at, text
from tests.exchange.places import endpoints_of

ADD = add(GUARD)


def fields(page: Any) -> dict[str, Any]:
    """Return what the page's form and its steps hold now, by name."""
    found = dict(page.context["adminform"].form.data.items())
    shown = page.context["adminform"].form
    found |= {name: shown[name].value() for name in shown.fields}
    for inline in page.context["inline_admin_formsets"]:
        for form in inline.formset.forms:
            found |= {form.add_prefix(name): form[name].value() for name in form.fields}
    return found


@pytest.mark.usefixtures("long")
def test_presets_careful_balanced_and_all_in_are_on_the_form(browser: Browser) -> None:
    page = text(browser.get(ADD))

    for name in PresetName:
        assert f'name="{PRESET}" value="{name}"' in page
    save, preset = page.index('name="_save"'), page.index(f'name="{PRESET}"')
    assert save < preset, "Enter in a field saves"


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize(
    ("name", "budget", "steps", "backstop"),
    [
        (PresetName.CAREFUL, "100", ["add_to_reach", "close_position"], True),
        (PresetName.BALANCED, "300", ["add_to_reach", "close_position"], True),
        (PresetName.ALL_IN, "10000", ["add_to_reach"], False),
    ],
)
def test_a_preset_fills_ladder_and_budgets_from_the_accounts_positions(  # noqa: PLR0917 - a table
    browser: Browser,
    common: dict[str, str],
    name: PresetName,
    budget: str,
    steps: list[str],
    backstop: bool,
) -> None:
    shown = browser.post(ADD, common | TYPED[GUARD] | {PRESET: name})

    found = fields(shown)
    assert found["metric"] == "liquidation_distance"
    assert found["budget_per_position_percent"] == budget
    assert found["budget_per_position_sats"] == found["budget_per_day_sats"] == ""
    assert (found["cooldown_s"], bool(found["backstop"])) == ("1", backstop)
    assert found["steps-TOTAL_FORMS"] == str(len(steps))
    assert [found[f"steps-{number}-does"] for number in range(len(steps))] == steps
    assert found["steps-0-threshold_percent"] == "0.75"
    assert f"Filled in “{name}”, made for 1 position(s) of account 0 (paper)" in text(shown)
    assert not MarginGuard.objects.exists()


@pytest.mark.usefixtures("long")
def test_all_else_that_was_typed_stays_and_nothing_is_said_of_what_is_missing(
    browser: Browser, common: dict[str, str]
) -> None:
    typed = common | TYPED[GUARD] | {"name": "", "switch": "halted", "accepts_reopening": "on"}

    shown = browser.post(ADD, typed | {PRESET: "balanced"})

    found = fields(shown)
    assert (found["account"], found["name"], found["switch"]) == (common["account"], "", "halted")
    assert found["enabled"] is True
    assert found["accepts_reopening"] is True
    assert not any(said_at(shown).values())
    assert "Please correct" not in text(shown)
    assert 'id="preview"' not in text(shown), "it could not be saved like this"


@pytest.mark.usefixtures("long")
def test_what_was_filled_in_is_previewed_at_once_and_can_be_saved(
    browser: Browser, common: dict[str, str]
) -> None:
    shown = browser.post(ADD, common | TYPED[GUARD] | {PRESET: "balanced"})

    assert "at the latest, costs at most 300,000 sats; dies at 90,909 without" in text(shown)
    typed = {name: value for name, value in fields(shown).items() if value not in {None, False}}
    saving = {
        name: "on" if value is True else str(value)
        for name, value in typed.items()
        if name not in {PRESET, "_preview", "only_positions"}
    }
    assert browser.post(ADD, saving | {"_save": "Save"}).status_code == 302
    guard = MarginGuard.objects.get()
    assert guard.name == "typed name"
    assert [step.does for step in guard.steps.all()] == ["close_position", "add_to_reach"]


def test_the_regime_of_the_form_says_which_positions_count(
    browser: Browser, common: dict[str, str], client: Client
) -> None:
    client.rest.cross.deposit(Sats(500_000))
    client.rest.cross.order(NewCrossOrder(side=Side.BUY, quantity=Usd(1000)))

    isolated = browser.post(ADD, common | TYPED[GUARD] | {PRESET: "balanced"})
    cross = browser.post(ADD, common | TYPED[GUARD] | {PRESET: "balanced", "regime": "cross"})

    assert "and there is none" in text(isolated)
    assert "Filled in “balanced”, made for 1 position(s)" in text(cross)
    assert fields(cross)["steps-0-target_percent"] == "2.5", "no stop lies before it on cross"


def test_only_the_positions_that_the_guard_looks_after_count(
    browser: Browser, common: dict[str, str], client: Client, long: Position
) -> None:
    client.open_trade(NewTrade(side=Side.SELL, leverage=Decimal(100), quantity=Usd(500)))
    typed = common | TYPED[GUARD] | {PRESET: "all in"}

    every = fields(browser.post(ADD, typed))
    longs = fields(browser.post(ADD, typed | {"side": "buy"}))
    named = fields(browser.post(ADD, typed | {"only_positions": long.id}))

    assert Decimal(every["steps-0-threshold_percent"]) < Decimal("0.75")
    assert longs["steps-0-threshold_percent"] == named["steps-0-threshold_percent"] == "0.75"


@pytest.mark.usefixtures("long")
def test_on_a_guards_page_the_old_steps_give_way_to_the_presets(
    browser: Browser, guard: MarginGuard, common: dict[str, str]
) -> None:
    old = guard.steps.get()
    old.position_thresholds.create(position_id="p1", threshold_percent=Decimal(60))
    typed = common | TYPED[GUARD] | {
        "steps-INITIAL_FORMS": "1", "steps-0-id": str(old.pk), "steps-0-guard": str(guard.pk),
    }  # fmt: skip

    shown = browser.post(change(guard), typed | {PRESET: "careful"})

    found = fields(shown)
    assert found["steps-TOTAL_FORMS"] == "3"
    assert found["steps-0-DELETE"] is True
    assert [found[f"steps-{number}-does"] for number in (1, 2)] == ["add_to_reach", "close_position"]
    assert "at the latest" in text(shown)
    assert GuardStep.objects.get() == old
    assert old.position_thresholds.exists()


WRONG: list[Any] = [
    pytest.param({"account": ""}, "Choose the account first", id="no account chosen"),
    pytest.param({"account": "x"}, "Choose the account first", id="no such account"),
    pytest.param({}, "A preset is made for positions, and there is none", id="no position runs"),
    pytest.param({"regime": "both"}, "Choose first which positions", id="unknown regime"),
    pytest.param({"side": "up"}, "Choose first which side", id="unknown side"),
    pytest.param({"only_positions": "a,,b"}, "Correct the ids", id="broken ids"),
    pytest.param({PRESET: "brave"}, "There is no such preset", id="unknown preset"),
]


@pytest.mark.parametrize(("changes", "says"), WRONG)
def test_where_nothing_can_be_filled_in_one_sentence_says_why_and_all_stays(
    browser: Browser, common: dict[str, str], changes: dict[str, str], says: str
) -> None:
    shown = browser.post(ADD, common | TYPED[GUARD] | {PRESET: "balanced"} | changes)

    assert text(shown).count("Nothing was filled in.") == 1
    assert says in text(shown)
    found = fields(shown)
    assert (found["name"], found["metric"]) == ("typed name", "margin_used")
    assert found["steps-0-threshold_percent"] == "70"
    assert 'id="preview"' not in text(shown)
    assert not MarginGuard.objects.exists()


def test_an_account_that_cannot_be_read_is_said(
    browser: Browser, common: dict[str, str], settings: Settings
) -> None:
    with Simulator() as gone:
        settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: endpoints_of(gone)}

    shown = text(browser.post(ADD, common | TYPED[GUARD] | {PRESET: "balanced"}))

    assert "Nothing was filled in. account 0 (paper) cannot be read" in shown
    assert 'value="typed name"' in shown


def allowed(*codenames: str) -> Browser:
    user = User.objects.create_user("clerk", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    clerk = Browser()
    clerk.force_login(user)
    return clerk


@pytest.mark.usefixtures("long")
def test_filling_in_needs_the_right_to_save(
    account: Account, guard: MarginGuard, common: dict[str, str]
) -> None:
    clerk = allowed("view_marginguard", "view_guardstep")
    typed = common | TYPED[GUARD] | {PRESET: "balanced", "account": str(account.pk)}

    assert clerk.post(ADD, typed).status_code == 403
    assert clerk.post(change(guard), typed).status_code == 403
    assert 'name="_preset"' not in text(clerk.get(change(guard)))


@pytest.mark.usefixtures("long")
def test_who_may_not_delete_steps_is_told_so(guard: MarginGuard, common: dict[str, str]) -> None:
    clerk = allowed(
        "view_marginguard", "change_marginguard", "view_guardstep", "change_guardstep", "add_guardstep"
    )
    old = guard.steps.get()
    typed = common | TYPED[GUARD] | {
        "steps-INITIAL_FORMS": "1", "steps-0-id": str(old.pk), "steps-0-guard": str(guard.pk),
    }  # fmt: skip

    assert "you may not do that" in text(clerk.post(change(guard), typed | {PRESET: "balanced"}))

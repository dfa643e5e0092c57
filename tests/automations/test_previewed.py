"""Previews in the admin: of what is saved, of what is typed, and the warning after saving."""

from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.test import Client as Browser
from django.urls import reverse
from pytest_django import DjangoCaptureOnCommitCallbacks
from pytest_django.fixtures import Settings

from accounts.models import Account, Installation
from automations.models import AutoEntry, MarginGuard, TakeProfitStopLoss
from automations.models.kinds import Kind
from automations.previewed import BUTTON
from exchange.config import Network
from exchange.position import Position
from exchange.simulator.running import Simulator
from tests.automations.test_previewing import rows
from tests.automations.typing_in import KINDS, TYPED, add
from tests.exchange.places import endpoints_of

ADD = reverse("admin:automations_marginguard_add")


def url(automation: Kind, page: str) -> str:
    return reverse(
        f"admin:automations_{type(automation).__name__.lower()}_{page}", args=[automation.pk]
    )


def text(page: Any) -> str:
    assert page.status_code == 200
    return str(page.content.decode())


def typed(account: Account, guard: MarginGuard | None = None, /, **changes: str) -> dict[str, Any]:
    """A guard as it is typed into the form: it adds 7,000 sats at half of the margin lost."""
    step = guard.steps.get() if guard else None
    return {
        "account": account.pk,
        "name": "typed name",
        "enabled": "on",
        "switch": "active",
        "regime": "isolated",
        "side": "",
        "only_positions": "",
        "metric": "margin_used",
        "cooldown_s": "10",
        "budget_per_position_sats": "100000",
        "budget_per_day_sats": "200000",
        "steps-TOTAL_FORMS": "1",
        "steps-INITIAL_FORMS": "1" if step else "0",
        "steps-MIN_NUM_FORMS": "1",
        "steps-MAX_NUM_FORMS": "1000",
        "steps-0-id": step.pk if step else "",
        "steps-0-guard": guard.pk if guard else "",
        "steps-0-threshold_percent": "50",
        "steps-0-does": "add_fixed",
        "steps-0-amount_sats": "7000",
    } | changes


@pytest.mark.usefixtures("long")
def test_the_page_of_a_guard_leads_to_its_preview(browser: Browser, guard: MarginGuard) -> None:
    assert url(guard, "preview") in text(browser.get(url(guard, "change")))

    page = text(browser.get(url(guard, "preview")))

    assert "Add 20,000 sats of margin" in page
    assert "95,238" in page
    assert "89,285.5" in page


@pytest.mark.usefixtures("long")
def test_every_kind_has_its_preview(browser: Browser, account: Account) -> None:
    exits = TakeProfitStopLoss.objects.create(
        enabled=True, account=account, name="exits", does="close_tp", when="profit",
        trigger_pnl_percentage=Decimal(50), on_exchange=False,
    )  # fmt: skip
    entry = AutoEntry.objects.create(
        enabled=True,
        account=account,
        name="entry",
        side="sell",
        quantity=100,
        trigger_price=Decimal(110_000),
    )
    entry.refresh_from_db()

    assert "Close it" in text(browser.get(url(exits, "preview")))
    assert "Sell 100 USD at 10x" in text(browser.get(url(entry, "preview")))


@pytest.mark.usefixtures("long")
def test_what_is_typed_is_previewed_kept_and_not_saved(
    browser: Browser, account: Account, venue: Simulator
) -> None:
    Installation.current()
    before, sent = rows(), len(venue.writes())

    answer: Any = browser.post(ADD, typed(account, _preview="Preview"))

    page = text(answer)
    assert "Add 7,000 sats of margin" in page
    assert 'value="typed name"' in page
    assert 'value="7000"' in page
    assert "Please correct" not in page
    assert rows() == before
    assert len(venue.writes()) == sent


@pytest.mark.usefixtures("long")
@pytest.mark.parametrize("kind", KINDS)
def test_a_new_automation_is_saved_disabled_unless_its_box_is_ticked_with_the_preview_beside_it(
    browser: Browser, common: dict[str, str], kind: str
) -> None:
    empty: Any = browser.get(add(kind))
    assert empty.context["adminform"].form["enabled"].value() is False
    assert f'name="{BUTTON}"' in text(empty)
    del common["enabled"]

    shown = text(browser.post(add(kind), common | TYPED[kind] | {BUTTON: "Preview"}))

    assert "It is disabled: nothing of this happens until it is enabled." in shown
    assert "was disabled meanwhile" not in shown, "what it would do once it is enabled"
    assert not KINDS[kind].objects.exists()
    assert browser.post(add(kind), common | TYPED[kind]).status_code == 302
    assert not KINDS[kind].objects.get().enabled


@pytest.mark.usefixtures("long")
def test_a_change_is_previewed_as_typed_and_what_is_saved_stays(
    browser: Browser, account: Account, guard: MarginGuard
) -> None:
    Installation.current()
    before = rows()

    page = text(browser.post(url(guard, "change"), typed(account, guard, _preview="Preview")))

    assert "Add 7,000 sats of margin" in page
    assert rows() == before


@pytest.mark.usefixtures("long")
def test_what_was_previewed_is_saved_as_typed(browser: Browser, account: Account) -> None:
    browser.post(ADD, typed(account, _preview="Preview"))

    assert browser.post(ADD, typed(account)).status_code == 302

    guard = MarginGuard.objects.get()
    assert (guard.name, guard.steps.get().amount_sats) == ("typed name", 7_000)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"name": ""}, id="in the form"),
        pytest.param({"steps-0-amount_sats": ""}, id="in a step"),
    ],
)
def test_what_is_wrong_is_said_instead_of_previewed(
    browser: Browser, account: Account, changes: dict[str, str]
) -> None:
    page = text(browser.post(ADD, typed(account, _preview="Preview", **changes)))

    assert "Please correct the error" in page
    assert 'id="preview"' not in page
    assert not MarginGuard.objects.exists()


def test_an_exchange_out_of_reach_is_said_and_what_is_typed_kept(
    browser: Browser, account: Account, guard: MarginGuard, settings: Settings
) -> None:
    with Simulator() as gone:
        settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: endpoints_of(gone)}

    assert "account 0 (paper) cannot be read" in text(browser.get(url(guard, "preview")))
    page = text(browser.post(ADD, typed(account, _preview="Preview")))
    assert "account 0 (paper) cannot be read" in page
    assert 'value="typed name"' in page


def test_only_who_may_look_sees_a_preview(guard: MarginGuard) -> None:
    stranger = Browser()
    stranger.force_login(User.objects.create_user("clerk", is_staff=True))

    assert stranger.get(url(guard, "preview")).status_code == 403
    assert Browser().get(url(guard, "preview")).status_code == 302


def test_an_automation_that_is_gone_has_no_preview(browser: Browser, guard: MarginGuard) -> None:
    page = url(guard, "preview")
    guard.delete()

    assert browser.get(page).status_code == 404


@pytest.mark.parametrize(
    ("price", "changes", "warns"),
    [
        pytest.param(95_000, {}, "It would act right now", id="crossed already"),
        pytest.param(95_000, {"switch": "halted"}, "Held for now, as a switch", id="crossed, but held"),
        pytest.param(95_000, {"enabled": ""}, None, id="crossed, but disabled"),
        pytest.param(100_000, {}, None, id="not crossed"),
    ],
)
@pytest.mark.usefixtures("long")
def test_saving_warns_of_a_threshold_that_is_crossed_already(  # noqa: PLR0917 - fixtures and the table
    browser: Browser,
    account: Account,
    venue: Simulator,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
    price: int,
    changes: dict[str, str],
    warns: str | None,
) -> None:
    venue.set_price(price)

    with django_capture_on_commit_callbacks(execute=True):
        answer: Any = browser.post(ADD, typed(account, **changes))

    said = list(get_messages(answer.wsgi_request))
    assert MarginGuard.objects.count() == 1
    assert [message.level_tag for message in said] == ["success"] + ["warning"] * (warns is not None)
    assert warns is None or warns in str(said[1])


def test_a_guard_is_saved_though_the_exchange_is_out_of_reach(
    browser: Browser,
    account: Account,
    settings: Settings,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with Simulator() as gone:
        settings.LN_MARKETS_ENDPOINTS = {Network.PAPER: endpoints_of(gone)}

    with django_capture_on_commit_callbacks(execute=True):
        answer: Any = browser.post(ADD, typed(account))

    assert MarginGuard.objects.exists()
    assert "cannot be said" in str(list(get_messages(answer.wsgi_request))[1])


def test_a_preview_shows_no_secret(
    browser: Browser, guard: MarginGuard, long: Position, venue: Simulator
) -> None:
    page = text(browser.get(url(guard, "preview")))

    credentials = venue.accounts[0].credentials
    assert long.id in page
    for secret in (credentials.key, credentials.secret, credentials.passphrase):
        assert secret not in page

"""What `check --deploy` says about the keys of the seal."""

from pytest_django.fixtures import Settings

from accounts import checks, crypto


def ids() -> list[str]:
    found = [*checks.web_opens_nothing(), *checks.what_is_sealed_can_be_opened()]
    return [str(each.id) for each in found]


def test_a_pair_of_keys_is_as_it_should_be(settings: Settings) -> None:
    assert ids() == []

    settings.SEAL_PRIVATE_KEYS = []  # as in web
    assert ids() == []


def test_one_key_that_seals_and_opens_is_told(settings: Settings) -> None:
    settings.SEAL_PUBLIC_KEYS = []

    assert ids() == ["accounts.W001"]


def test_a_public_key_whose_private_half_is_missing_is_told(settings: Settings) -> None:
    settings.SEAL_PUBLIC_KEYS = [crypto.new_pair()[0], *settings.SEAL_PUBLIC_KEYS]

    assert ids() == ["accounts.W002"]

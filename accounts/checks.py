"""What `manage.py check --deploy` says about the keys of the seal."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register  # noqa: A004 - Django's own name

from accounts.models import held_keys


@register(deploy=True)
def web_opens_nothing(**_kwargs: Any) -> list[CheckMessage]:
    """Where one key both seals and opens, every process that seals can open, web among them."""
    if settings.SEAL_PUBLIC_KEYS:
        return []
    return [
        Warning(
            "SEAL_PUBLIC_KEYS is not set, so that web needs a key that opens all credentials.",
            hint=(
                "Make a pair with `python -m hubdefisats.sealkeys`, give the private key to worker,"
                " urgent and stream alone, and run `manage.py rotate_keys`."
            ),
            id="accounts.W001",
        )
    ]


@register(deploy=True)
def what_is_sealed_can_be_opened(**_kwargs: Any) -> list[CheckMessage]:
    """A process that opens must hold the private half of the key that seals new credentials."""
    if not settings.SEAL_PRIVATE_KEYS:
        return []
    keys = held_keys()
    if keys.sealing in keys.private:
        return []
    return [
        Warning(
            f"No key of SEAL_PRIVATE_KEYS opens what the newest of SEAL_PUBLIC_KEYS, {keys.sealing},"
            " seals: accounts entered from now on would not be protected.",
            id="accounts.W002",
        )
    ]

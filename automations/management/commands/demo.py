"""Set the demo up on a paper exchange."""

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from automations import demo
from exchange.auth import Credentials
from exchange.errors import ExchangeError


class Command(BaseCommand):
    help = (
        "Give the accounts of a paper exchange to a demo owner, with positions near liquidation, and a"
        " guard on half of them. Standard input: the first line that `python -m exchange.simulator`"
        " prints."
    )

    def handle(self, *_args: Any, **_options: Any) -> None:
        try:
            announced = json.loads(sys.stdin.readline())
            keys = [_credentials(each) for each in announced["accounts"]]
        except (ValueError, KeyError, TypeError):
            raise CommandError("Standard input is not the paper exchange's first line.") from None
        try:
            demo.set_up(keys)
        except (demo.DemoError, ExchangeError) as error:
            raise CommandError(str(error)) from error


def _credentials(account: dict[str, Any]) -> Credentials:
    values = {name: account[name] for name in ("key", "secret", "passphrase")}
    if not all(isinstance(value, str) and value.isascii() for value in values.values()):
        raise TypeError("credentials are plain texts")
    return Credentials(**values)

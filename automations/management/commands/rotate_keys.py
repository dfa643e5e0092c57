"""Seal all credentials with the newest key, and say whether an older one is still needed."""

import time
from typing import Any, Final

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import rotation
from accounts.models import held_keys

_SAID_EVERY_S: Final = 1.0


class Command(BaseCommand):
    help = (
        "Seal all credentials with the newest key of SEAL_PUBLIC_KEYS, while everything runs. It may be"
        " ended and started again. Exit 0 only where no row needs an older key."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--check", action="store_true", help="change nothing, only look")

    def handle(self, *_args: Any, **options: Any) -> None:
        keys = held_keys()
        if keys.sealing not in keys.private:
            raise CommandError(
                f"The newest public key, {keys.sealing}, has no private key here: nothing was changed,"
                " for nobody could open what it seals. Put that first into SEAL_PRIVATE_KEYS."
            )
        if not options["check"]:
            self._said_at = time.monotonic()
            done = rotation.rotate(self._tell)
            self.stdout.write(f"{done} accounts sealed anew with the key {keys.sealing}.")
        left = list(rotation.needs())
        if left:
            each = "\n".join(f"account {need.account.pk}, {need.account}: {need.why}" for need in left)
            raise CommandError(f"{each}\n{len(left)} accounts are not sealed with {keys.sealing} alone:"
                               " keep the older keys, and run this again.")  # fmt: skip
        self.stdout.write(
            f"No row needs a key other than {keys.sealing}. Once web has no other public key, and this"
            " was said again after that, the older private keys can be taken away."
        )

    def _tell(self, done: int, of: int) -> None:
        if done == of or time.monotonic() - self._said_at >= _SAID_EVERY_S:
            self._said_at = time.monotonic()
            self.stdout.write(f"{done} of {of} accounts")
            self.stdout.flush()

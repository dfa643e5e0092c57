"""Keys may have leaked: switch everything off, and say what is to be done next."""

from typing import Any, Final

from django.core.management.base import BaseCommand, CommandParser

from automations import revoking

_NEXT: Final = """What to do next, in this order (docs/leaked-keys.md says how, and why):
  1. At LN Markets delete every API key named above: only that makes a leaked key worthless.
  2. Make new keys of the seal with `python -m hubdefisats.sealkeys`, put them first into
     SEAL_PUBLIC_KEYS and SEAL_PRIVATE_KEYS, start everything anew, run `manage.py rotate_keys`,
     and take the older ones away once it says that no row needs them.
  3. Make new ones of SECRET_KEY, of the passwords of PostgreSQL, Redis, mail and Flower, and start
     everything anew.
  4. Everybody who signs in chooses a new password. Each owner enters a new API key and switches
     the account on: its connection is tested then, and automations act again."""


class Command(BaseCommand):
    help = (
        "Keys may have leaked: switch every account off, end all sessions, void all links for new"
        " passwords and tell every owner, all at once. Without --yes it only says what it would do."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--yes", action="store_true", help="do it")
        parser.add_argument(
            "--reason",
            default="a key may have leaked",
            help="stands in every journal and in the message to every owner",
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        does = options["yes"]
        found = revoking.revoke(options["reason"]) if does else revoking.foresee()
        were, was = ("were", "was") if does else ("would be", "would be")
        for account in found.accounts:
            self.stdout.write(
                f"account {account.pk}, {account}, of {account.owner}, key {account.key_hint}:"
                f" {was} switched off"
            )
        self.stdout.write(
            f"{len(found.accounts)} accounts {were} switched off, {found.sessions} sessions {were}"
            f" ended, links for new passwords of {found.users} users {were} void."
        )
        self.stdout.write(
            f"{found.positions} positions run that nothing of ours protects from then on; stops that"
            f" lie with the exchange stay there. {found.under_way} actions are not settled: their"
            " requests may have left already."
        )
        self.stdout.write(_NEXT if does else "Nothing was changed: repeat it with --yes.")

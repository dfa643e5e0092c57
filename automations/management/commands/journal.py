"""Whether the journal is intact; the journal in a file; and a shorter journal."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from accounts.models import Account
from automations import chronicle, exporting
from automations.exporting import Format, Scope


class Command(BaseCommand):
    help = "Verify the journal's chains, export the journal, or prune what was exported."

    def add_arguments(self, parser: CommandParser) -> None:
        does = parser.add_subparsers(dest="does", required=True, metavar="verify|export|prune")
        verify = does.add_parser("verify", help="name the first broken entry of each account")
        export = does.add_parser("export", help="write entries, in the order of their chains")
        prune = does.add_parser("prune", help="delete the oldest entries, if they are in a file")
        for each in (verify, export, prune):
            each.add_argument("--account", type=int, metavar="ID", help="only this one")
        export.add_argument("--format", choices=[form.value for form in Format], required=True)
        export.add_argument("--since", type=_moment, metavar="ISO", help="from this moment on")
        export.add_argument("--until", type=_moment, metavar="ISO", help="before this moment")
        export.add_argument(
            "--output", type=Path, metavar="FILE", help="a new file; only what is in one can be pruned"
        )
        prune.add_argument(
            "--exported-until", type=_moment, metavar="ISO", required=True, help="before this moment"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        {"verify": self.verify, "export": self.export, "prune": self.prune}[options["does"]](options)

    def verify(self, options: dict[str, Any]) -> None:
        broken = []
        for account in _accounts(options["account"]):
            fault = chronicle.verify(account)
            if fault is None:
                self.stdout.write(f"account {account.pk}, {account}: intact")
            else:
                broken.append(f"account {account.pk}, {account}: {fault}.")
        if broken:
            raise CommandError("\n".join(broken))

    def export(self, options: dict[str, Any]) -> None:
        _accounts(options["account"])
        form, path = Format(options["format"]), options["output"]
        try:
            scope = Scope(account_id=options["account"], since=options["since"], until=options["until"])
            if path is not None:
                done = exporting.export(scope, form, path)
                self.stdout.write(f"{done.entries} entries in {path}, SHA-256 {done.sha256}")
                return
            for line in exporting.lines(exporting.in_order(scope.entries()), form):
                self.stdout.write(line, ending="")
        except ValueError as fault:
            raise CommandError(f"--since and --until: {fault}.") from fault
        except FileExistsError as fault:
            raise CommandError(f"{path} is there already; nothing is overwritten.") from fault
        except OSError as fault:
            raise CommandError(f"Not exported: {fault}.") from fault

    def prune(self, options: dict[str, Any]) -> None:
        refused = []
        for account in _accounts(options["account"]):
            try:
                count = chronicle.prune(account, options["exported_until"], timezone.now())
            except chronicle.NotPrunableError as fault:
                refused.append(f"account {account.pk}, {account}: {fault}.")
            else:
                self.stdout.write(f"account {account.pk}, {account}: {count} entries pruned")
        if refused:
            raise CommandError("\n".join(refused))


def _accounts(account_id: int | None) -> list[Account]:
    """Return the one that was named, or all."""
    if account_id is None:
        return list(Account.objects.order_by("pk"))
    found = Account.objects.filter(pk=account_id).first()
    if found is None:
        raise CommandError(f"There is no account {account_id}.")
    return [found]


def _moment(text: str) -> datetime:
    """Read an ISO 8601 date or time; without an offset it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as fault:
        raise argparse.ArgumentTypeError(f"{text!r} is no ISO 8601 date or time") from fault
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)

"""What was done, for the terminal and for other programs."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from accounts.times import written
from automations.models import Execution


class Command(BaseCommand):
    help = "List the executions, the newest last."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="one JSON object a line")
        parser.add_argument("--last", type=int, default=1000, help="at most so many (default: 1000)")

    def handle(self, *_args: Any, **options: Any) -> None:
        newest = Execution.objects.select_related("account")[: max(0, options["last"])]
        for execution in reversed(newest):
            self.stdout.write(_as_json(execution) if options["json"] else _as_text(execution))


def _as_text(execution: Execution) -> str:
    amount = f" {execution.amount_sats:,} sats" if execution.amount_sats else ""
    what = f"{execution.get_does_display()}{amount}"
    when = written(execution.decided_at)
    return f"{when}  {execution.account.name}  {what}  {execution.state}  {execution.why}"


def _as_json(execution: Execution) -> str:
    return json.dumps(
        {
            "id": execution.pk,
            "state": execution.state,
            "action": execution.does,
            "position_id": execution.position_id,
            "amount": execution.amount_sats,
            "origin": execution.origin,
            "tick_time_ms": execution.tick_time_ms,
            "tick_price": None if execution.tick_price is None else str(execution.tick_price),
            "why": execution.why,
        }
    )

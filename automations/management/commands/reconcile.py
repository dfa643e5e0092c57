"""Settle what was left open, now."""

from typing import Any

from django.core.management.base import BaseCommand

from automations import reconciling
from automations.models import Execution


class Command(BaseCommand):
    help = "Settle executions whose answer never came, by what the exchange shows now."

    def handle(self, *_args: Any, **_options: Any) -> None:
        for execution in reconciling.settle_all():
            self.stdout.write(f"{execution}")
        left = Execution.objects.unsettled().count()
        self.stdout.write(f"{left} left open." if left else "Nothing is open.")

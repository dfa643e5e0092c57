"""What an automation would do, for the terminal and for other programs."""

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from automations import foretelling, foretelling_json, previewing
from automations.models import Automation
from automations.models.kinds import Kind, typed


class Command(BaseCommand):
    help = "Show what an automation would do now, and where its triggers lie. Nothing is changed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("automation", help="its id, or its name")
        parser.add_argument("--json", action="store_true", help="one JSON object")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            preview = previewing.preview(_found(options["automation"]))
        except previewing.CannotBeSeenError as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(foretelling_json.as_json(preview)))
            return
        for line in foretelling.lines(preview):
            self.stdout.write(line)


def _found(wanted: str) -> Kind:
    """Return the automation of that id or name.

    Raises:
        CommandError: there is none, or more than one.
    """
    by_name = list(Automation.objects.filter(name=wanted).select_related("account"))
    if wanted.isdecimal() and len(wanted) < 19:
        by_name = list(Automation.objects.filter(pk=int(wanted))) or by_name
    if not by_name:
        raise CommandError(f"There is no automation “{wanted}”.")
    if len(by_name) > 1:
        named = ", ".join(f"{each.pk} ({each.account})" for each in by_name)
        raise CommandError(f"Several automations are called “{wanted}”, say which by its id: {named}.")
    return typed(by_name[0])

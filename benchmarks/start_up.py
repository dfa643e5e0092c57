"""How soon a stream process has 100,000 triggers armed, and takes over what one that was killed had.

Entries on many accounts, whose prices are far away, so that each is one trigger. Floor: PostgreSQL
hands all their rows out once, to nobody who does anything with them.
"""

import argparse
import json
import os
import signal
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from benchmarks import report
from benchmarks.platform import Platform, accounts, platform, wait_for
from benchmarks.report import Aim
from exchange.formulas import Side
from hubdefisats.stack.programs import STREAM

if TYPE_CHECKING:
    from django.db.models import Model

    from accounts.models import Account

TRIGGERS: Final = 100_000
MOST_S: Final = 10
"""For each: arming all, and taking over."""
PATIENCE_S: Final = 120.0
HEARTBEAT: Final = "hubdefisats:stream:heartbeat:"


def entries(first: "Account", each: int) -> None:
    """Give every account so many entries, all like one of the first account but for their price."""
    from django.db import connection, transaction  # noqa: PLC0415 - Django is ready only now

    from automations.models import AutoEntry, Automation  # noqa: PLC0415

    of_all = columns(Automation, but={"id", "account", "name"})
    of_entry = columns(AutoEntry, but={"automation_ptr", "trigger_price"})
    with transaction.atomic(), connection.cursor() as cursor:
        model = AutoEntry.objects.create(
            enabled=True,
            account=first,
            name="model",
            side=Side.BUY,
            quantity=1,
            leverage=10,
            trigger_price=1000,
        )
        cursor.execute(
            f"""INSERT INTO automations_automation (account_id, name, {of_all})
                SELECT account.id, 'entry ' || number, {of_all} FROM automations_automation,
                       (SELECT id FROM accounts_account) AS account, generate_series(1, %s) AS number
                 WHERE automations_automation.id = %s""",  # noqa: S608 - our own names
            [each, model.pk],
        )
        cursor.execute(
            f"""INSERT INTO automations_autoentry (automation_ptr_id, trigger_price, {of_entry})
                SELECT other.id, 1000 + other.id %% 50000, {of_entry}
                  FROM automations_autoentry, automations_automation AS other
                 WHERE automation_ptr_id = %s AND other.id <> %s""",  # noqa: S608 - our own names
            [model.pk, model.pk],
        )
        model.delete()
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")


def columns(model: type["Model"], *, but: set[str]) -> str:
    """Return the other columns of a model's own table, as SQL wants them."""
    fields: Any = model._meta.local_concrete_fields  # noqa: SLF001 - documented
    return ", ".join(field.column for field in fields if field.name not in but)


def bare_read_s() -> float:
    """Return how long it takes to be handed all rows."""
    from django.db import connection  # noqa: PLC0415 - Django is ready only now

    began_s = time.perf_counter()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM automations_automation AS it"
            " JOIN automations_autoentry ON automation_ptr_id = it.id"
            " JOIN accounts_account AS account ON account.id = it.account_id"
        )
        cursor.fetchall()
    return time.perf_counter() - began_s


def armed(running: Platform) -> dict[int, int]:
    """Return how many triggers each stream process that lives has armed, by its number."""
    with running.redis() as redis:
        said = [redis.get(key) for key in redis.scan_iter(f"{HEARTBEAT}*")]
    seen = [json.loads(each) for each in said if each]
    return {
        each["process"]: sum(market["armed"] for market in each["markets"].values()) for each in seen
    }


def until_s(running: Platform, counts: list[int], what: str) -> float:
    """Return after how long the processes had so many armed, the one with the fewest first."""
    began_s = time.monotonic()
    wait_for(lambda: sorted(armed(running).values()) == counts, within_s=PATIENCE_S, what=what)
    return round(time.monotonic() - began_s, 2)


def measured(running: Platform, count: int) -> tuple[dict[str, Any], float]:
    """Return the figures, and the floor in seconds."""
    owned = accounts(running, count)
    entries(owned[0], TRIGGERS // count)
    floor_s = bare_read_s()
    with ExitStack() as processes:
        first = processes.enter_context(running.running(STREAM))
        found = {"armed_s": until_s(running, [TRIGGERS], "all are armed")}
        processes.enter_context(running.running(STREAM))
        found["shared_s"] = until_s(running, [TRIGGERS // 2] * 2, "both have half of them")
        os.killpg(first.pid, signal.SIGKILL)
        found["taken_over_s"] = until_s(running, [TRIGGERS], "the other has all")
    return {"accounts": count, "triggers": TRIGGERS} | found, floor_s


def main() -> None:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--accounts", type=int, default=1000, help="a divisor of 50,000, even")
    chosen: argparse.Namespace = parser.parse_args(sys.argv[1:])
    with platform("--accounts", str(chosen.accounts), "--limits", "off") as running:
        found, floor_s = measured(running, chosen.accounts)
    report.publish(
        report.Report(
            benchmark="start_up",
            figures=found,
            floor={"armed_s": round(floor_s, 3)},
            aims={
                name: Aim(measured=found[name], at_most=MOST_S) for name in ("armed_s", "taken_over_s")
            },
        ),
        chosen.results,
    )


if __name__ == "__main__":
    main()

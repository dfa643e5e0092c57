"""What is seen of a soak from outside, twice a second: pulses, freshness, memory."""

import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import psutil
import psycopg2
import redis as redis_client
import requests

from benchmarks.soak.people import PULSE_S, Person
from benchmarks.soak.trouble import Ground

PRICE_MAX_AGE_S: Final = 5.0
POSITIONS_MAX_AGE_S: Final = 30.0
"""So old may they be where margin is added (docs/architecture.md)."""
_WARM_S: Final = 60.0
_MIB: Final = 2**20


@dataclass(slots=True)
class Watch:
    """Collects; `look` is called often."""

    ground: Ground
    people: Sequence[Person]
    writes: list[dict[str, Any]] = field(default_factory=list)
    unprotected_s: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    """By account, seconds in which nobody could have acted for it."""
    _pulses: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By key, when each beat arrived, in seconds of the wall clock."""
    _looked_at: float | None = None
    _memory: dict[tuple[str, int], list[tuple[float, float]]] = field(
        default_factory=lambda: defaultdict(list)
    )

    def look(self) -> None:
        self._read_ledger()
        now, before = time.monotonic(), self._looked_at
        self._looked_at = now
        if before is not None:
            for person in self._unprotected():
                self.unprotected_s[person.account.name] += now - before

    def beats_since(self, moment: float) -> bool:
        """Whether every pulse has beaten twice since then: once may have been on its way."""
        pulses = [person.key for person in self.people if person.is_pulse]
        return all(sum(at > moment for at in self._pulses[key]) >= 2 for key in pulses)

    def back_at(self, moment: float) -> float:
        """Return when the last of the pulses beat for the first time since then."""
        return max(
            min(at for at in self._pulses[person.key] if at > moment)
            for person in self.people
            if person.is_pulse
        )

    def gaps_s(self) -> dict[str, float]:
        """Return for each pulse how many seconds it was silent, beyond the time between two beats."""
        usual = PULSE_S + 1.5
        return {
            person.account.name: round(
                sum(
                    max(0.0, after - before - usual)
                    for before, after in zip(
                        self._pulses[person.key], self._pulses[person.key][1:], strict=False
                    )
                ),
                1,
            )
            for person in self.people
            if person.is_pulse
        }

    def weigh(self) -> None:
        """Note what memory each process takes."""
        named = dict(self.ground.stack.supervisor.pids())
        for name in ("postgres", "redis"):
            with suppress(LookupError, redis_client.RedisError):
                named[name] = self.ground.pid(name)
        for name, pid in named.items():
            with suppress(psutil.Error):
                process = psutil.Process(pid)
                family = [process] if name == "postgres" else [process, *process.children()]
                rss = sum(each.memory_info().rss for each in family) / _MIB
                self._memory[name, pid].append((time.monotonic(), rss))

    def growth_mib_per_hour(self) -> dict[str, float]:
        """Return how fast each program grew once warm, over all its lives."""
        grown: defaultdict[str, float] = defaultdict(float)
        lived: defaultdict[str, float] = defaultdict(float)
        for (name, _), samples in self._memory.items():
            warm = [each for each in samples if each[0] >= samples[0][0] + _WARM_S]
            if len(warm) > 1:
                grown[name] += warm[-1][1] - warm[0][1]
                lived[name] += warm[-1][0] - warm[0][0]
        return {name: round(grown[name] / lived[name] * 3600, 1) for name in grown if lived[name]}

    def _read_ledger(self) -> None:
        url = f"{self.ground.control}/ledger?skip={len(self.writes)}"
        with suppress(requests.RequestException):
            new = requests.get(url, timeout=10).json()["writes"]
            self.writes += new
            pulses = {person.key for person in self.people if person.is_pulse}
            for write in new:
                if write["applied"] and write["account"] in pulses:
                    self._pulses[write["account"]].append(write["received_at_us"] / 1e6)

    def _unprotected(self) -> list[Person]:
        """Return those for whom no worker could act now."""
        if not (self._works() and _answers(self.ground.database_url)):
            return list(self.people)
        views = self._views()
        return [person for person in self.people if not _is_fresh(views.get(person.account.pk))]

    def _works(self) -> bool:
        """Whether a process for urgent work runs and is not frozen."""
        pids = self.ground.stack.supervisor.pids()
        for name, pid in pids.items():
            with suppress(psutil.Error):
                if name.startswith("urgent") and psutil.Process(pid).status() != psutil.STATUS_STOPPED:
                    return True
        return False

    def _views(self) -> Mapping[int, Any]:
        from accounts.gateway import live_view  # noqa: PLC0415 - Django is ready only now

        asked = [(person.account.network, person.account.pk) for person in self.people]
        views = live_view().read_all(asked)
        return {pk: view for (_, pk), view in zip(asked, views, strict=True)}


def _is_fresh(view: Any) -> bool:
    from django.utils import timezone  # noqa: PLC0415 - Django is ready only now

    if view is None or view.quote is None or view.positions is None:
        return False
    now = timezone.now()
    return bool(
        view.quote.at >= now - timedelta(seconds=PRICE_MAX_AGE_S)
        and view.positions.fresh_at >= now - timedelta(seconds=POSITIONS_MAX_AGE_S)
    )


def _answers(url: str) -> bool:
    try:
        connection = psycopg2.connect(url, connect_timeout=1, options="-c statement_timeout=1000")
    except psycopg2.Error:
        return False
    connection.close()
    return True


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Return median and worst."""
    if not values:
        return None
    return {"median": round(statistics.median(values), 1), "worst": round(max(values), 1)}

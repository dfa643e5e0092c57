"""The twelve properties hold, whatever happens in whatever order."""

import os
import secrets
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.machine import Platform

_EXAMPLES: Final = int(os.environ.get("STATEFUL_EXAMPLES") or 0)
"""How many stories, each another one: `make stateful`. 0: the same few each time."""
_SEED: Final = int(os.environ.get("STATEFUL_SEED") or secrets.randbelow(10**9))

_common: Final = settings(
    deadline=None,
    database=None,
    # A story takes seconds: one that fails is told as it was found, and checks of health are in vain.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
_few: Final = settings(_common, max_examples=10, stateful_step_count=25, derandomize=True)
_many: Final = settings(_common, max_examples=_EXAMPLES or 1, stateful_step_count=50)


@pytest.mark.timeout(300 + 60 * _EXAMPLES)
@pytest.mark.usefixtures("transactional_db", "redis_url")
def test_twelve_properties_hold_after_each_step(capsys: pytest.CaptureFixture[str]) -> None:
    if not _EXAMPLES:
        run_state_machine_as_test(Platform, settings=_few)
        return
    with capsys.disabled():
        print(f"\n{_EXAMPLES} stories, STATEFUL_SEED={_SEED}", flush=True)  # noqa: T201 - to be repeated
    run_state_machine_as_test(seed(_SEED)(Platform), settings=_many)

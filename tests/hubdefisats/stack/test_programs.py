"""Which processes there are, by what the environment says."""

import pytest
from django.core.exceptions import ImproperlyConfigured

from hubdefisats.stack import programs


def test_each_urgent_process_has_a_name_and_threads_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("URGENT_PROCESSES", "3")
    monkeypatch.setenv("URGENT_CONCURRENCY", "7")

    found = programs.urgent()

    assert [each.name for each in found] == ["urgent-1", "urgent-2", "urgent-3"]
    assert [f"{each.name}@%h" in each.command for each in found] == [True] * 3
    assert {each.variables["WORKER_CONCURRENCY"] for each in found} == {"7"}


@pytest.mark.parametrize("name", ["URGENT_PROCESSES", "URGENT_CONCURRENCY"])
def test_a_number_that_is_none_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "none")

    with pytest.raises(ImproperlyConfigured, match=f"{name} must be a whole number from 1 on"):
        programs.urgent()

"""Folders in which servers can live."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder of its own; pytest's are closed to the user that PostgreSQL runs as for root."""
    with tempfile.TemporaryDirectory(prefix="hubdefisats-") as name:
        yield Path(name).resolve()

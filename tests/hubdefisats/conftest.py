"""Folders in which servers can live."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hubdefisats import folder as folders


@pytest.fixture
def folder() -> Iterator[Path]:
    """A data folder of its own; pytest's are closed to the user that PostgreSQL runs as for root."""
    with folders.temporary("hubdefisats-") as folder:
        yield folder

"""The local settings file of a stack."""

import json
import stat
from pathlib import Path

import pytest
from django.core.exceptions import ImproperlyConfigured

from hubdefisats import local
from hubdefisats.stack.assembly import _kept_secrets


def test_what_was_written_is_read_by_its_owner_alone(folder: Path) -> None:
    local.write(folder, {"SECRET_KEY": "old"})
    local.write(folder, {"SECRET_KEY": "hunter2"})

    assert local.read(folder) == {"SECRET_KEY": "hunter2"}
    assert [file.name for file in folder.iterdir()] == ["local.json"]
    assert stat.S_IMODE((folder / "local.json").stat().st_mode) == 0o600


def test_where_no_stack_ever_ran_there_is_nothing_to_read(folder: Path) -> None:
    assert local.read(folder / "absent") == {}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param("{hunter2", id="no JSON"),
        pytest.param('["hunter2"]', id="no object"),
        pytest.param(json.dumps({"SECRET_KEY": 2}), id="a value that is no text"),
    ],
)
def test_a_broken_file_is_refused_without_being_shown(folder: Path, content: str) -> None:
    (folder / "local.json").write_text(content)

    with pytest.raises(ImproperlyConfigured, match=r"local\.json") as refused:
        local.read(folder)

    assert "hunter2" not in str(refused.value)


def test_secrets_are_made_anew_each_time() -> None:
    one, another = local.new_secrets(), local.new_secrets()

    assert one.keys() == another.keys()
    assert not set(one.values()) & set(another.values())


def test_an_older_stack_keeps_the_key_that_opens_what_it_sealed(folder: Path) -> None:
    local.write(folder, {"SECRET_KEY": "kept", "CREDENTIAL_KEYS": "from before"})

    secrets = _kept_secrets(folder)

    assert secrets["SECRET_KEY"] == "kept"
    assert secrets["CREDENTIAL_KEYS"] == "from before"
    assert secrets["SEAL_PUBLIC_KEYS"]
    assert secrets["SEAL_PRIVATE_KEYS"]

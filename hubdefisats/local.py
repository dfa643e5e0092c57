"""The local settings file: what a stack made up for its own folder, so that nobody has to."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from django.core.exceptions import ImproperlyConfigured

from accounts import crypto

BASE_DIR: Final = Path(__file__).resolve().parent.parent


def data_folder() -> Path:
    """Return where a stack keeps what it makes: git-ignored, one folder for each stack."""
    return Path(os.environ.get("HUBDEFISATS_DATA") or BASE_DIR / ".data").expanduser().resolve()


def read(folder: Path) -> dict[str, str]:
    """Return the variables kept in `folder`; none where no stack ever ran.

    Raises:
        ImproperlyConfigured: the file is not what `write` wrote.
    """
    file = folder / "local.json"
    try:
        values = json.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(f"{file} cannot be read ({type(error).__name__}).") from error
    if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
        raise ImproperlyConfigured(f"{file} must be one JSON object of texts.")
    return values


def write(folder: Path, values: Mapping[str, str]) -> None:
    """Replace the file in one step, readable by its owner alone. Raises OSError."""
    new = folder / "local.json.new"
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(dict(values), file, indent=2)
    new.replace(folder / "local.json")


def new_secrets() -> dict[str, str]:
    """Return fresh secrets for a stack that nobody configured."""
    public, private = crypto.new_pair()
    return {
        "SECRET_KEY": secrets.token_urlsafe(50),
        "SEAL_PUBLIC_KEYS": public,
        "SEAL_PRIVATE_KEYS": private,
        "ADMIN_PASSWORD": secrets.token_urlsafe(12),
        "FLOWER_PASSWORD": secrets.token_urlsafe(12),
        "REDIS_PASSWORD": secrets.token_urlsafe(32),
    }

"""What a person reads who starts a command with settings that lead nowhere."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_OFFLINE = {
    "SECRET_KEY": "hunter2",
    "SEAL_PUBLIC_KEYS": "",
    "SEAL_PRIVATE_KEYS": "",
    "CREDENTIAL_KEYS": "b2ZmbGluZSBvZmZsaW5lIG9mZmxpbmUgb2ZmbGluZSA=",
    "DATABASE_URL": "postgresql://a:hunter2@127.0.0.1:1/x",
    "REDIS_URL": "redis://:hunter2@127.0.0.1:1",
}


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        pytest.param({"SECRET_KEY": ""}, "SECRET_KEY is not set", id="no secret to run with"),
        pytest.param({"CREDENTIAL_KEYS": ""}, "CREDENTIAL_KEYS is not set", id="no key to seal with"),
        pytest.param({"CREDENTIAL_KEYS": "hunter2"}, "must be Fernet keys", id="a key that is none"),
        pytest.param(
            {"SEAL_PUBLIC_KEYS": "hunter2"}, "must be keys of 32 bytes", id="a short public key"
        ),
        pytest.param(
            {"SEAL_PRIVATE_KEYS": "hunter2"}, "SEAL_PRIVATE_KEYS must", id="a short private key"
        ),
        pytest.param(
            {"PROCESS": "web"}, "SEAL_PUBLIC_KEYS is not set", id="web takes no key that opens"
        ),
        pytest.param({"PROCESS": "wbe"}, "PROCESS must be one of web", id="no program of ours"),
        pytest.param({"DATABASE_URL": "hunter2"}, "DATABASE_URL must be a URL", id="no URL"),
        pytest.param({"LN_MARKETS_NETWORK": "moon"}, "must be one of mainnet", id="no such network"),
        pytest.param({}, "The database behind DATABASE_URL cannot be used: ", id="nobody answers"),
    ],
)
def test_a_command_refuses_in_one_sentence(
    folder: Path, variables: dict[str, str], sentence: str
) -> None:
    done = subprocess.run(
        [sys.executable, "manage.py", "migrate"],
        env=os.environ | _OFFLINE | {"HUBDEFISATS_DATA": str(folder)} | variables,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 1
    assert sentence in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hunter2" not in done.stderr

"""A paper exchange in a process of its own, and a Redis, for benchmarks."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory

from redis import Redis

from exchange.auth import Credentials
from exchange.config import Endpoints
from exchange.reach import connect
from hubdefisats import embedded


@dataclass(frozen=True, slots=True, kw_only=True)
class Paper:
    endpoints: Endpoints
    accounts: tuple[Credentials, ...]
    control: str
    process_id: int


@contextmanager
def paper(*options: str) -> Iterator[Paper]:
    """Run `python -m exchange.simulator` with these options on free ports."""
    command = [sys.executable, "-m", "exchange.simulator", "--port", "0", "--control-port", "0"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, text=True) as process:  # noqa: S603 - our own
        try:
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            yield Paper(
                endpoints=Endpoints(
                    api_url=first["rest"].removesuffix("/v3"),
                    stream_url=first["stream"].removesuffix("/v1"),
                ),
                accounts=tuple(_credentials(each) for each in first["accounts"]),
                control=first["control"],
                process_id=process.pid,
            )
        finally:
            process.terminate()


@contextmanager
def redis() -> Iterator[Redis]:
    with (
        TemporaryDirectory(prefix="hubdefisats-bench-") as folder,
        embedded.redis_server(Path(folder), token_hex()) as url,
        connect(url) as client,
    ):
        yield client


def _credentials(account: dict[str, str]) -> Credentials:
    return Credentials(key=account["key"], secret=account["secret"], passphrase=account["passphrase"])

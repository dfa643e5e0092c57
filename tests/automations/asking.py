"""What was asked of PostgreSQL and of Redis, told by themselves."""

import re
from typing import Final

import redis
from django.conf import settings
from django.db import connection
from redis.client import Monitor

_PREPARED: Final = re.compile(r"EXECUTE (\w+) \(")
_GREETINGS = {"HELLO", "AUTH", "CLIENT", "SELECT"}


def heard(commands: Monitor) -> list[str]:
    """Return the words of the commands to this test's own database until now."""
    found: list[str] = []
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.echo("until now")
        number = client.connection_pool.connection_kwargs["db"]
    for each in commands.listen():  # type: ignore[no-untyped-call]
        if each["command"] == "ECHO until now":
            return found
        word = each["command"].split()[0]
        if int(each["db"]) == number and word not in _GREETINGS:
            found.append(word)
    return found


def is_asked(statement: str) -> bool:
    """Whether it is a question, and not its preparation, which each connection has once."""
    return not statement.startswith("PREPARE ")


def text_of(statement: str) -> str:
    """Return the text of a statement of this connection, in one line; if prepared, what it asks."""
    found = _PREPARED.search(statement)
    if found is None:
        return " ".join(statement.split())
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements WHERE name = %s", [found[1]])
        asks = cursor.fetchone()[0].partition(" AS ")[2]
    return " ".join(f"{statement[: found.start()]} {asks}".split())

"""What was asked of Redis, told by itself."""

import redis
from django.conf import settings
from redis.client import Monitor

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

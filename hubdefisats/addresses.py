"""Where the database and the exchanges are: what the URLs in the environment mean."""

import dj_database_url
from dj_database_url import DBConfig
from django.core.exceptions import ImproperlyConfigured

from exchange.config import PUBLIC_ENDPOINTS, Endpoints, Network
from hubdefisats.env import Environment


def database(env: Environment) -> DBConfig:
    """Return Django's settings of the one PostgreSQL behind DATABASE_URL."""
    url = env.text("DATABASE_URL")
    try:
        found = dj_database_url.parse(url, conn_health_checks=True)
    except ValueError:
        found = DBConfig()
    if found.get("ENGINE") != "django.db.backends.postgresql" or not found.get("NAME"):
        raise ImproperlyConfigured(
            "DATABASE_URL must be a URL like postgresql://user:password@host:5432/name."
        )
    # A connection belongs to a thread. The web's threads come and go, so there it ends with its
    # request; processes whose threads stay (the worker's, the stream's) ask for a longer life.
    found["CONN_MAX_AGE"] = env.integer("DATABASE_MAX_AGE_S", default=0)
    options = found.setdefault("OPTIONS", {})
    options.setdefault("connect_timeout", 5)
    # A socket's folder can only be said in the query, yet `dbshell` looks for it where hosts are.
    found["HOST"] = str(options.pop("host", found["HOST"]))
    return found


def endpoints(env: Environment, network: Network) -> dict[Network, Endpoints]:
    """Return the doors of every network that can be reached.

    The two URL variables say where `network` is; the real ones have public defaults, paper has none.
    """
    known = dict(PUBLIC_ENDPOINTS)
    public = known.get(network)
    api_default, stream_default = (public.api_url, public.stream_url) if public else (None, None)
    known[network] = Endpoints(
        api_url=env.url("LN_MARKETS_API_URL", ("https", "http"), default=api_default),
        stream_url=env.url("LN_MARKETS_STREAM_URL", ("wss", "ws"), default=stream_default),
    )
    return known

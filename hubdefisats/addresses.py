"""Where the database, the exchanges and the mail server are: what the URLs in the environment mean."""

from dataclasses import dataclass, field
from email.utils import parseaddr
from typing import Final
from urllib.parse import unquote, urlsplit

import dj_database_url
from dj_database_url import DBConfig
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email

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
    # What is prepared (`automations/models/prepared.py`) is planned for all values at once.
    said = [str(options.get("options", "")), "-c plan_cache_mode=force_generic_plan"]
    if statement_s := env.integer("DATABASE_STATEMENT_S", default=0, least=0):
        said.append(f"-c statement_timeout={statement_s}s")
    options["options"] = " ".join(filter(None, said))
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


_SMTP_PORTS: Final = {"smtp": 25, "smtp+tls": 587, "smtps": 465}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mail:
    """How mail is sent; without a host none is."""

    host: str = ""
    port: int = 25
    user: str = ""
    password: str = field(default="", repr=False)
    starts_tls: bool = False
    is_tls: bool = False
    sender: str = ""


def mail(env: Environment) -> Mail:
    """Return the mail server behind EMAIL_URL, and from whom its mails come."""
    if not env.text("EMAIL_URL", default=""):
        return Mail()
    parts = urlsplit(env.url("EMAIL_URL", _SMTP_PORTS))
    if not parts.hostname:
        raise ImproperlyConfigured("EMAIL_URL must name a host.")
    if parts.password and parts.scheme == "smtp":
        raise ImproperlyConfigured(
            "EMAIL_URL must begin with smtp+tls:// or smtps://: a password is not sent in the clear."
        )
    user = unquote(parts.username or "")
    return Mail(
        host=parts.hostname,
        port=parts.port or _SMTP_PORTS[parts.scheme],
        user=user,
        password=unquote(parts.password or ""),
        starts_tls=parts.scheme == "smtp+tls",
        is_tls=parts.scheme == "smtps",
        sender=_sender(env.text("EMAIL_FROM", default=user)),
    )


def _sender(text: str) -> str:
    """Return the text, which is an address or a name with one."""
    try:
        validate_email(parseaddr(text)[1] if text.isprintable() else "")
    except ValidationError:
        raise ImproperlyConfigured(
            "EMAIL_FROM must be an address like hubdefisats@example.com."
        ) from None
    return text

"""Where the database, the exchanges and the mail server are: what the URLs in the environment mean."""

import re
import ssl
from dataclasses import dataclass, field, replace
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
    url, hosts, ports = _one_host(env.text("DATABASE_URL"))
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
    # Whoever waits for an answer notices within some 20 s that the machine it should come from is gone.
    for option, value in _NOTICES_THE_END.items():
        options.setdefault(option, value)
    if hosts:
        # Of several, the one that can be written to: after a failover another than before.
        options.setdefault("target_session_attrs", "read-write")
    # What is prepared (`automations/models/prepared.py`) is planned for all values at once.
    said = [str(options.get("options", "")), "-c plan_cache_mode=force_generic_plan"]
    if statement_s := env.integer("DATABASE_STATEMENT_S", default=0, least=0):
        said.append(f"-c statement_timeout={statement_s}s")
    options["options"] = " ".join(filter(None, said))
    # A socket's folder can only be said in the query, yet `dbshell` looks for it where hosts are.
    found["HOST"] = str(options.pop("host", hosts or found["HOST"]))
    if hosts:
        found["PORT"] = ports
    return found


_NOTICES_THE_END: Final = {
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_HOST: Final = re.compile(r"(\[[^]]+\]|[^][:]+)(?::([0-9]+))?")


def _one_host(url: str) -> tuple[str, str, str]:
    """Return a URL with its first host alone, and all its hosts and ports as PostgreSQL lists them.

    The lists are empty where there is one host or none.
    """
    start, slashes, rest = url.partition("://")
    address, slash, path = rest.partition("/")
    owner, at, listed = address.rpartition("@")
    found = [_HOST.fullmatch(each) for each in listed.split(",")]
    if len(found) < 2 or not all(found):
        return url, "", ""
    hosts = [unquote(each[1].strip("[]")) for each in found if each]
    ports = [each[2] or "5432" for each in found if each]
    first = listed.partition(",")[0]
    return f"{start}{slashes}{owner}{at}{first}{slash}{path}", ",".join(hosts), ",".join(ports)


def endpoints(env: Environment, network: Network) -> dict[Network, Endpoints]:
    """Return the doors of every network that can be reached.

    The two URL variables say where `network` is; the real ones have public defaults, paper has none.
    """
    trusted = trust(env)
    proxy = _proxy(env)
    known = {each: replace(at, ca_file=trusted, proxy=proxy) for each, at in PUBLIC_ENDPOINTS.items()}
    public = known.get(network)
    api_default, stream_default = (public.api_url, public.stream_url) if public else (None, None)
    known[network] = Endpoints(
        api_url=env.url("LN_MARKETS_API_URL", ("https", "http"), default=api_default),
        stream_url=env.url("LN_MARKETS_STREAM_URL", ("wss", "ws"), default=stream_default),
        ca_file=trusted,
        proxy=proxy,
    )
    return known


def _proxy(env: Environment) -> str | None:
    """Return the proxy between us and the exchange; None where none is named."""
    if not env.text("LN_MARKETS_PROXY", default=""):
        return None
    return env.url("LN_MARKETS_PROXY", ("http",))


def trust(env: Environment) -> str | None:
    """Return the file of certificates to believe in place of the system's; None where none is named.

    Both names are in use: the first by OpenSSL, the second by libraries that look nowhere else.

    Raises:
        ImproperlyConfigured: it has no certificate.
    """
    for name in ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"):
        if path := env.text(name, default=""):
            try:
                ssl.create_default_context(cafile=path)
            except OSError as error:
                why = "no certificate" if isinstance(error, ssl.SSLError) else error.strerror
                raise ImproperlyConfigured(f"{name} cannot be used: {path} ({why}).") from None
            return path
    return None


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

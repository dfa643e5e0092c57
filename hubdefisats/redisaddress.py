"""What REDIS_URL means, read once: the same database, the same certificates, for every library."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from django.core.exceptions import ImproperlyConfigured

from hubdefisats.env import Environment

_LIKE: Final = (
    "REDIS_URL must be a URL like redis://:password@host:6379/0, rediss://… with TLS,"
    " or unix:///path/of/the/socket?db=0."
)
_CHECKS: Final = {
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}
_FILES: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_TLS: Final = ("ssl_cert_reqs", "ssl_check_hostname", *_FILES)
_KNOWN: Final = ("db", "protocol", *_TLS)
_FLAGS: Final = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisAddress:
    """One Redis, in the forms in which the libraries want it."""

    url: str = field(repr=False)
    """For `redis.Redis.from_url`: live view, limits, readiness."""
    broker_url: str = field(repr=False)
    """For kombu, and so for Celery and Flower; everything about TLS is in `broker_tls`."""
    broker_tls: dict[str, Any] | None
    """How the certificate is checked; None without TLS."""


def redis_address(env: Environment) -> RedisAddress:
    """Return where Redis is.

    With `rediss://` the certificate and the name in it are checked, unless the URL says in words that
    they are not: `ssl_cert_reqs=none`, `ssl_check_hostname=false`.

    Raises:
        ImproperlyConfigured: the URL cannot be read, or says what would be passed over.
    """
    try:
        parts = urlsplit(env.text("REDIS_URL").rstrip("/"))
        port, said = parts.port, _said(parts)
    except ValueError:
        raise ImproperlyConfigured(_LIKE) from None
    socket = parts.scheme == "unix"
    if parts.scheme not in {"redis", "rediss", "unix"} or port == 0 or parts.fragment:
        raise ImproperlyConfigured(_LIKE)
    if not (parts.path if socket else parts.netloc) or (socket and parts.hostname):
        raise ImproperlyConfigured(_LIKE)
    if parts.scheme != "rediss" and (of_tls := sorted(set(said) & set(_TLS))):
        raise ImproperlyConfigured(f"REDIS_URL must begin with rediss:// for {', '.join(of_tls)}.")
    number = _database(parts, said, socket=socket)
    tls = _tls(said) if parts.scheme == "rediss" else None
    return RedisAddress(
        url=_for_redis(parts, said, number, tls),
        broker_url=_for_kombu(parts, number),
        broker_tls=tls,
    )


def _said(parts: SplitResult) -> dict[str, str]:
    """Return what stands behind the question mark, by names that we know."""
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    said = dict(pairs)
    unknown = sorted(set(said) - set(_KNOWN))
    if unknown or len(said) < len(pairs):
        names = ", ".join(unknown) or "the same parameter twice"
        raise ImproperlyConfigured(f"REDIS_URL has {names}; it may have {', '.join(_KNOWN)}.")
    if said.get("protocol", "2") not in {"2", "3"}:
        raise ImproperlyConfigured("REDIS_URL: protocol must be 2 or 3.")
    return said


def _database(parts: SplitResult, said: dict[str, str], *, socket: bool) -> int:
    """Return the number of the database, which stands in the path or in the query."""
    given = {said[name] for name in ("db",) if name in said}
    if not socket and parts.path.strip("/"):
        given.add(unquote(parts.path.strip("/")))
    if len(given) > 1 or not all(each.isascii() and each.isdigit() for each in given):
        raise ImproperlyConfigured("REDIS_URL: the database must be one whole number, /0 or ?db=0.")
    return int(given.pop()) if given else 0


def _tls(said: dict[str, str]) -> dict[str, Any]:
    check = said.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    named = said.get("ssl_check_hostname", "true").lower()
    if check not in _CHECKS:
        raise ImproperlyConfigured(f"REDIS_URL: ssl_cert_reqs must be one of {', '.join(_CHECKS)}.")
    if named not in _FLAGS:
        raise ImproperlyConfigured("REDIS_URL: ssl_check_hostname must be true or false.")
    files = {name: said[name] for name in _FILES if said.get(name)}
    for name, path in files.items():
        try:
            Path(path).read_bytes()
        except OSError as error:
            raise ImproperlyConfigured(
                f"REDIS_URL: {name} cannot be read ({error.strerror})."
            ) from None
    return {
        "ssl_cert_reqs": _CHECKS[check],
        "ssl_check_hostname": _FLAGS[named] and check != "none",
        **files,
    }


def _for_redis(
    parts: SplitResult, said: dict[str, str], number: int, tls: dict[str, Any] | None
) -> str:
    if not said and tls is None:
        return parts.geturl()
    query: dict[str, object] = {"db": number}
    if "protocol" in said:
        query["protocol"] = said["protocol"]
    if tls is not None:
        check = next(word for word, each in _CHECKS.items() if each is tls["ssl_cert_reqs"])
        query |= tls | {"ssl_cert_reqs": check}
    path = parts.path if parts.scheme == "unix" else ""
    return parts._replace(path=path, query=urlencode(query)).geturl()


def _for_kombu(parts: SplitResult, number: int) -> str:
    if parts.scheme != "unix":
        return parts._replace(path=f"/{number}", query="").geturl()
    user, password = (quote(unquote(each or ""), safe="") for each in (parts.username, parts.password))
    owner = f"{user}:{password}@" if user or password else ""
    return f"redis+socket://{owner}{parts.path}?virtual_host={number}"

"""Everything that can be set, read from the environment once, checked, and safe when absent."""

import os
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from kombu import Queue

from exchange.config import Network
from hubdefisats import addresses, local, logs, process, redisaddress, sealkeys
from hubdefisats.env import Environment
from hubdefisats.stack import secrets

BASE_DIR = local.BASE_DIR
DATA = local.data_folder()
# The stack that runs in this folder says where its parts are; what a person sets comes first.
PROCESS = process.current()
env = Environment(
    secrets.own(PROCESS, local.read(DATA) | {name: text for name, text in os.environ.items() if text})
)

DEBUG = env.flag("DEBUG", default=False)
SECRET_KEY = env.text("SECRET_KEY")
SEAL_PUBLIC_KEYS, SEAL_PRIVATE_KEYS, CREDENTIAL_KEYS = sealkeys.read(env, PROCESS)
"""Seal the accounts' credentials, and open them: the newest first. Web has the first alone.

The last opens what was sealed before there were pairs of keys.
"""

# Web
# This machine itself may always ask, as its health checks do.
ALLOWED_HOSTS = [*env.words("ALLOWED_HOSTS", default=""), "localhost", "127.0.0.1", "[::1]"]
CSRF_TRUSTED_ORIGINS = env.words("CSRF_TRUSTED_ORIGINS", default="")
HTTPS = env.flag("HTTPS", default=False)
"""People reach the pages by https, through a proxy that says so in X-Forwarded-Proto."""
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_REDIRECT_EXEMPT = [r"^health/"]
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_AGE = 7 * 24 * 3600
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
ROOT_URLCONF = "hubdefisats.urls"
ASGI_APPLICATION = "hubdefisats.asgi.application"
INSTALLED_APPS = [
    "unfold",  # before the admin, whose templates it replaces
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "accounts",
    "automations",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "accounts.times.TimeZoneMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
LOGIN_REDIRECT_URL = "/admin/"
STATIC_URL = "static/"
WHITENOISE_USE_FINDERS = True  # served from where they lie: no collecting step
UNFOLD = {"SITE_TITLE": "hubdefisats", "SITE_HEADER": "hubdefisats", "SITE_SYMBOL": "shield"}
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en"
FORMAT_MODULE_PATH = "hubdefisats.formats"

# Record and broker
DATABASES = {"default": addresses.database(env)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
_redis = redisaddress.redis_address(env)
REDIS_URL = _redis.url
REDIS_PATIENCE_MS = env.integer("REDIS_PATIENCE_MS", default=250, least=1)
"""Whoever looks for live data waits this long for Redis, then asks the exchange itself."""

# Exchange
LN_MARKETS_NETWORK = Network(env.choice("LN_MARKETS_NETWORK", list(Network), default=Network.MAINNET))
"""The network of a new account, and the one that the two URL variables are about."""
LN_MARKETS_ENDPOINTS = addresses.endpoints(env, LN_MARKETS_NETWORK)
if _trusted := addresses.trust(env):
    os.environ["SSL_CERT_FILE"] = _trusted  # for libraries that ask OpenSSL: mail and Redis

PRIVATE_CALLS_PER_S = env.integer("PRIVATE_CALLS_PER_S", default=5, least=1)
PUBLIC_CALLS_PER_S = env.integer("PUBLIC_CALLS_PER_S", default=1, least=1)
"""What the exchange allows each key, and each address of ours."""

# Nothing is decided on data older than this, in seconds
DATA_MAX_AGE_S = env.integer("DATA_MAX_AGE_S", default=5, least=1)
TOP_UP_POSITIONS_MAX_AGE_S = env.integer("TOP_UP_POSITIONS_MAX_AGE_S", default=30, least=1)
"""Positions for a top-up, beside a live price: their margin changes only by hand and by us."""
CLOSE_MAX_AGE_S = env.integer("CLOSE_MAX_AGE_S", default=10, least=1)
"""Positions for closing and reducing."""
BALANCE_MAX_AGE_S = env.integer("BALANCE_MAX_AGE_S", default=60, least=1)
"""The free balance; what we spent since it was read is subtracted."""

SPIKE_PERCENT = env.percent("SPIKE_PERCENT", default="2")
"""A price further than this from the one before is believed only when something confirms it."""

UNPROTECTED_AFTER_S = env.integer("UNPROTECTED_AFTER_S", default=10, least=1)
"""Without positions or price for longer an account's owner is told that nothing protects him."""

SWEEP_ACCOUNTS = env.integer("SWEEP_ACCOUNTS", default=50, least=1)
"""In one task of a sweep: each may have to be read from an exchange that takes half a second."""

STREAM_SOCKETS = env.integer("STREAM_SOCKETS", default=32, least=1)
"""One is for prices, the others for accounts, the most at risk first; accounts beyond are polled."""
STREAM_DIALS_PER_HOUR = env.integer("STREAM_DIALS_PER_HOUR", default=500, least=1)
STREAM_AUTHENTICATIONS_PER_MINUTE = env.integer(
    "STREAM_AUTHENTICATIONS_PER_MINUTE", default=20, least=1
)

STREAM_READERS = env.integer("STREAM_READERS", default=32, least=1)
"""Readings of accounts that a stream process has on their way at once, for each network."""
STREAM_ROUND_MS = env.integer("STREAM_ROUND_MS", default=500, least=10)
"""A stream process looks this often for what changed in the database."""
STREAM_RECHECK_S = env.integer("STREAM_RECHECK_S", default=300, least=1)
"""It reads everything anew this often, beside what it is told of."""
STREAM_LEASE_S = env.integer("STREAM_LEASE_S", default=5, least=1)
"""The accounts of a stream process that was not heard for this long go to others."""
STREAM_HEARTBEAT_S = env.integer("STREAM_HEARTBEAT_S", default=1, least=1)
if STREAM_LEASE_S < 2 * STREAM_HEARTBEAT_S:
    raise ImproperlyConfigured("STREAM_LEASE_S must be at least twice STREAM_HEARTBEAT_S.")
STREAM_HANDOVER = env.integer("STREAM_HANDOVER", default=100, least=1)
"""With each heartbeat it gives at most so many accounts to one that joined."""

TASK_DELIVERIES = env.integer("TASK_DELIVERIES", default=3, least=1)
"""Looks in a row that end with their worker, or with a fault of ours, before nobody looks any more."""

# Mail
_mail = addresses.mail(env)
EMAIL_HOST = _mail.host
"""Empty: nobody is mailed, and notifications are written to the worker's log."""
EMAIL_PORT = _mail.port
EMAIL_HOST_USER = _mail.user
EMAIL_HOST_PASSWORD = _mail.password
EMAIL_USE_TLS = _mail.starts_tls
EMAIL_USE_SSL = _mail.is_tls
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = _mail.sender or "hubdefisats@localhost"

# Celery. No message is acknowledged late: what dies with its worker is found again by the sweep.
CELERY_BROKER_URL = _redis.broker_url
CELERY_BROKER_USE_SSL = _redis.broker_tls
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CHANNEL_ERROR_RETRY = (
    True  # a Redis that refuses commands (read only, say) ends no worker
)
CELERY_BROKER_TRANSPORT_OPTIONS = {
    "priority_steps": [0],  # one list for each queue, not four
    "queue_order_strategy": "priority",  # the order of CELERY_TASK_QUEUES
    "visibility_timeout": 180,  # beyond the longest wait of a retry, 60 s
    "socket_connect_timeout": 5,
    "socket_timeout": 10,
    "socket_keepalive": True,
    "health_check_interval": 25,
}
CELERY_TASK_QUEUES = [
    # Without a routing key of its own a queue would get the default one, and every message with it.
    # What is urgent has expired before Redis would give it out again: it is not kept for that.
    Queue(name, routing_key=name, no_ack=name == "urgent")
    for name in ("urgent", "automation-execute", "maintenance", "notifications")
]
CELERY_TASK_DEFAULT_QUEUE = "maintenance"
CELERY_TASK_ROUTES = {
    "automations.tasks.act": {"queue": "automation-execute"},
    "automations.tasks.deliver_notifications": {"queue": "notifications"},
    "automations.tasks.read_back": {"queue": "notifications"},  # with all else that may wait
}
"""Where guards' looks go is said as they are sent: they are urgent."""
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 3, "interval_start": 0, "interval_max": 0.5}
CELERY_TASK_SOFT_TIME_LIMIT = 45
CELERY_TASK_TIME_LIMIT = 60
CELERY_WORKER_SEND_TASK_EVENTS = True
CELERY_WORKER_CONSUMER = "hubdefisats.broker:CalmConsumer"
CELERY_WORKER_POOL = "hubdefisats.workerpool:DeadlinePool"
CELERY_WORKER_CONCURRENCY = env.integer("WORKER_CONCURRENCY", default=5, least=1)
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_TIMEZONE = TIME_ZONE
CELERY_DB_REUSE_MAX = 10**9  # never closed by counting: see `close_what_is_broken`
CELERY_BEAT_SCHEDULER = "hubdefisats.beat:LeaderScheduler"
CELERY_BEAT_ENABLE_REMOTE_CONTROL = True  # answers the health check only while it ticks
CELERY_BEAT_REMOTE_CONTROL_MAX_TICK_AGE = 20

LOG_LEVEL = env.choice("LOG_LEVEL", ("DEBUG", "INFO", "WARNING", "ERROR"), default="INFO")
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "hubdefisats.logs.LineFormatter"}},
    "filters": {"news": {"()": "django.utils.log.CallbackFilter", "callback": logs.is_news}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": LOG_LEVEL},
    "loggers": {
        # These bring handlers of their own, which would say everything twice.
        name: {"handlers": [], "level": level, "propagate": True}
        for name, level in {
            "django": LOG_LEVEL,
            "django.server": LOG_LEVEL,
            "uvicorn": LOG_LEVEL,
            "uvicorn.error": LOG_LEVEL,
            "uvicorn.access": "WARNING",
        }.items()
    }
    | {"django.request": {"filters": ["news"]}},
}

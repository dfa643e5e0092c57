"""Settings that reach nothing, for tools that only look at the code: types, missing migrations."""

import os

os.environ |= {
    "SECRET_KEY": "offline",
    "CREDENTIAL_KEYS": "b2ZmbGluZSBvZmZsaW5lIG9mZmxpbmUgb2ZmbGluZSA=",
    "DATABASE_URL": "postgresql:///offline",
    "REDIS_URL": "redis://offline.invalid",
}

from hubdefisats.settings import *  # noqa: F403 - they are the project's own, read as set above

DATABASES = {"default": {"ENGINE": "django.db.backends.dummy"}}

"""The door for web servers: `uvicorn hubdefisats.asgi:application`."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubdefisats.settings")

application = get_asgi_application()

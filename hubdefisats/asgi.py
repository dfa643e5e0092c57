"""The door for web servers: `uvicorn hubdefisats.asgi:application`."""

import os
import warnings

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubdefisats.settings")
# Style sheets and scripts, which whitenoise reads in blocks: small, and read once by each browser.
warnings.filterwarnings("ignore", message="StreamingHttpResponse must consume synchronous")

application = get_asgi_application()

#!/usr/bin/env python
"""The project's command line."""

import os
import sys

from django.core.exceptions import ImproperlyConfigured
from django.core.management import execute_from_command_line
from django.db import OperationalError


def main() -> None:
    """Run a command; wrong settings and an unreachable database give a sentence, not a traceback."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubdefisats.settings")
    try:
        execute_from_command_line(sys.argv)
    except ImproperlyConfigured as error:
        sys.exit(f"Wrong settings: {error}")
    except OperationalError as error:
        sys.exit(f"The database behind DATABASE_URL cannot be reached: {' '.join(str(error).split())}")


if __name__ == "__main__":
    main()

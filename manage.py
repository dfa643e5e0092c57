#!/usr/bin/env python
"""The project's command line."""

import os
import sys

from django.core.management import execute_from_command_line

from hubdefisats import surroundings
from hubdefisats.refusals import said_in_a_sentence


def main() -> None:
    surroundings.tidy()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "hubdefisats.settings")
    with said_in_a_sentence():
        execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()

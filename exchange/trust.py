"""Whose certificates are believed: one answer for REST and stream."""

import ssl

import certifi


def trusting(ca_file: str | None) -> ssl.SSLContext:
    """Return a context that checks certificates against those in the file alone.

    Without a file they are the system's, and those that come with Python's own libraries: a machine
    may have none of the former.
    """
    context = ssl.create_default_context(cafile=ca_file)
    if ca_file is None:
        context.load_verify_locations(certifi.where())
    return context

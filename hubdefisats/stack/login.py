"""The first login of a stack that nobody configured."""

from typing import Final

from django.contrib.auth import get_user_model

USERNAME: Final = "admin"


def ensure_admin(password: str) -> bool:
    """Make the admin where there is none; return whether `password` opens the door."""
    users = get_user_model().objects
    admin = users.filter(username=USERNAME).first() or users.create_superuser(
        USERNAME, password=password
    )
    return admin.check_password(password)

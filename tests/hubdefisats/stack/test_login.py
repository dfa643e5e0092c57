"""The first login of a stack."""

import pytest
from django.contrib.auth.models import User

from hubdefisats.stack.login import ensure_admin


@pytest.mark.django_db
def test_the_admin_is_made_once_and_keeps_the_password_a_person_chose() -> None:
    assert ensure_admin("made up")
    admin = User.objects.get(username="admin", is_superuser=True, is_staff=True)

    admin.set_password("chosen")
    admin.save()

    assert not ensure_admin("made up")
    assert User.objects.get().check_password("chosen")

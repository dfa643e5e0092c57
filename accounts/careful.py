"""What admin pages say: one thing at a time at each field, and no error page where people collide."""

from typing import Any

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS
from django.db import IntegrityError
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin


class CarefulForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Each field says what is wrong with it first: what follows from that is no help."""

    def add_error(self, field: str | None, error: Any) -> None:
        super().add_error(field, error)
        for name, said in self.errors.items():
            if name != NON_FIELD_ERRORS:
                del said.data[1:]


class CarefulAdmin(ModelAdmin):  # type: ignore[misc]  # unfold is untyped
    """An admin of what people configure and the record refers to."""

    form = CarefulForm

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        try:
            return self._form(request, object_id, form_url, extra_context)
        except IntegrityError:
            # Somebody saved the same between the form's checks and its saving: nothing was written, and
            # now the checks see it and say so.
            return self._form(request, object_id, form_url, extra_context)

    def _form(self, request: HttpRequest, *args: Any) -> HttpResponse:
        page: HttpResponse = super().changeform_view(request, *args)
        return page

    def get_deleted_objects(
        self, objs: Any, request: HttpRequest
    ) -> tuple[list[Any], dict[str, int], set[str], list[str]]:
        """Say what to do instead: records may be deleted by nobody, which is no lack of permission."""
        found, counts, not_permitted, protected = super().get_deleted_objects(objs, request)
        if protected and not_permitted:
            said = "has a history, which is kept: disable it instead of deleting it."
            return found, counts, set(), [f"“{each}” {said}" for each in objs]
        return found, counts, not_permitted, protected

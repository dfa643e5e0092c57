"""What admin pages say: one thing at a time at each field, and no error page where people collide."""

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import cache
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import NON_FIELD_ERRORS
from django.db import IntegrityError
from django.db.models import DateTimeField, Model
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.admin import ModelAdmin

from accounts.times import written


@cache
def _time_column(name: str, label: str, *, milliseconds: bool) -> Callable[[Model], str | None]:
    @admin.display(description=label, ordering=name, empty_value="-")
    def column(row: Model) -> str | None:
        at: datetime | None = getattr(row, name)
        return written(at, milliseconds=milliseconds) if at else None

    return column


def with_times(opts: Any, names: Iterable[Any], *, milliseconds: bool = False) -> list[Any]:
    """Put columns that name their zone in the place of fields with times.

    Django's own leave the zone out in the hour that comes twice when summer time ends.
    """
    times = {
        field.name: _time_column(field.name, field.verbose_name, milliseconds=milliseconds)
        for field in opts.fields
        if isinstance(field, DateTimeField)
    }
    return [times.get(name, name) if isinstance(name, str) else name for name in names]


class CarefulForm(forms.ModelForm):  # type: ignore[type-arg]  # not generic at run time
    """Each field says what is wrong with it first: what follows from that is no help."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for field in self.fields.values():
            if isinstance(field, forms.DateTimeField | forms.SplitDateTimeField):
                zone = timezone.get_current_timezone_name()
                field.help_text = f"{field.help_text} In the time zone {zone}.".strip()

    def add_error(self, field: str | None, error: Any) -> None:
        super().add_error(field, error)
        for name, said in self.errors.items():
            if name != NON_FIELD_ERRORS:
                del said.data[1:]


class CarefulAdmin(ModelAdmin):  # type: ignore[misc]  # unfold is untyped
    """An admin of what people configure and the record refers to."""

    form = CarefulForm

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return with_times(self.opts, super().get_list_display(request))

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        return with_times(self.opts, super().get_readonly_fields(request, obj))

    def get_fieldsets(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        shown = super().get_readonly_fields(request, obj)
        columns = dict(zip(shown, with_times(self.opts, shown), strict=True))
        return [
            (title, options | {"fields": [columns.get(name, name) for name in options["fields"]]})
            for title, options in super().get_fieldsets(request, obj)
        ]

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

"""Previews in the admin: a page of its own, a button beside Save, a warning after saving."""

from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any, Final

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.db import transaction
from django.forms import BaseInlineFormSet, BaseModelForm
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils.functional import SimpleLazyObject
from unfold.decorators import action

from accounts.careful import CarefulAdmin
from automations import foretelling, previewing
from automations.foretelling import Told
from automations.models.kinds import Kind, typed
from automations.previewing import CannotBeSeenError, Preview, see, weigh, without_trace

BUTTON: Final = "_preview"
"""What the button beside Save is called in the form."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the template shows: a preview, or why there is none."""

    positions: tuple[Told, ...] = ()
    notes: tuple[str, ...] = ()
    market: str = ""
    fault: str = ""

    @classmethod
    def of(cls, preview: Preview) -> "Shown":
        return cls(
            positions=foretelling.told(preview),
            notes=foretelling.notes(preview),
            market=f"{preview.quote.price.normalize():,f}",
        )


class NotToBeSaved:
    """A form that is checked and shown again, whatever it holds: the admin saves valid ones only."""

    def is_valid(self) -> bool:
        super().is_valid()  # type: ignore[misc]  # mixed into a form
        return False


class PreviewedAdmin(CarefulAdmin):
    """An admin of automations that can be previewed, saved or as typed."""

    actions_detail = ["preview"]
    change_form_outer_before_template = "admin/automations/previewed.html"

    @action(description="Preview", url_path="preview", icon="visibility", permissions=["view"])  # type: ignore[untyped-decorator]
    def preview(self, request: HttpRequest, object_id: str) -> HttpResponse:
        automation = self.get_object(request, unquote(object_id))
        if automation is None:
            raise Http404
        context = {
            **self.admin_site.each_context(request),
            "title": f"Preview of {automation}",
            "opts": self.opts,
            "original": automation,
            "preview": _shown(automation),
        }
        return TemplateResponse(request, "admin/automations/preview.html", context)

    def get_form(
        self,
        request: HttpRequest,
        obj: Kind | None = None,
        change: bool = False,  # noqa: FBT001, FBT002 - Django's own signature
        **kwargs: Any,
    ) -> "type[BaseModelForm[Any]]":
        form: type[BaseModelForm[Any]] = super().get_form(request, obj, change, **kwargs)
        return type("PreviewForm", (NotToBeSaved, form), {}) if BUTTON in request.POST else form

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if self._may_save(request, context["original"]):
            button = {"action_name": BUTTON, "description": "Preview", "icon": "visibility"}
            context["actions_submit_line"] = [*context.get("actions_submit_line", ()), button]
        form = context["adminform"].form
        if BUTTON in request.POST and not context["errors"] and getattr(form, "fits", True):
            formsets = [inline.formset for inline in context["inline_admin_formsets"]]
            # Rendered after the admin's transaction is over: it must not wait for the exchange.
            context["preview"] = SimpleLazyObject(lambda: _shown_typed(form, formsets))
        response: HttpResponse = super().render_change_form(request, context, *args, **kwargs)
        return response

    def save_related(self, request: HttpRequest, form: Any, formsets: Any, change: bool) -> None:  # noqa: FBT001
        """Say after saving, once it is committed, that the rule would act at once."""
        super().save_related(request, form, formsets, change)
        automation = form.instance
        transaction.on_commit(lambda: self._warn(request, automation))

    def _warn(self, request: HttpRequest, automation: Kind) -> None:
        if not (automation.enabled and automation.account.may_act):
            return
        try:
            wanted = previewing.preview(automation).wants_now
        except CannotBeSeenError as error:
            said = f"Saved, but whether it would act at once cannot be said: {error}"
            self.message_user(request, said, messages.WARNING)
            return
        for subject, outlook in wanted:
            assert outlook.action is not None
            where = f" on position {subject.position.id}" if subject.position else ""
            said = f"It would act right now{where}: {foretelling.sentence(outlook.action)}"
            held = f". Held for now, as {outlook.obstacle}" if outlook.obstacle else ""
            self.message_user(request, f"{said} ({outlook.why}){held}.", messages.WARNING)

    def _may_save(self, request: HttpRequest, obj: Kind | None) -> bool:
        if obj is None:
            return bool(self.has_add_permission(request))
        return bool(self.has_change_permission(request, obj))


def _shown(automation: Kind) -> Shown:
    try:
        return Shown.of(previewing.preview(automation))
    except CannotBeSeenError as error:
        return Shown(fault=str(error))


def _shown_typed(
    form: "BaseModelForm[Any]", formsets: "Iterable[BaseInlineFormSet[Any, Any, Any]]"
) -> Shown:
    """Preview what was typed: save it, look at it as at anything saved, and undo the saving."""
    try:
        sight = see(form.instance)
    except CannotBeSeenError as error:
        return Shown(fault=str(error))
    with without_trace():
        return Shown.of(weigh(_saved_twin(form, formsets), sight))


def _saved_twin(
    form: "BaseModelForm[Any]", formsets: "Iterable[BaseInlineFormSet[Any, Any, Any]]"
) -> Kind:
    """Save copies of what was typed, so that the form's own objects do not take rows for saved."""
    twin: Kind = copy(form.instance)
    twin.save()
    for formset in formsets:
        rows = formset.save(commit=False)
        for gone in formset.deleted_objects:
            copy(gone).delete()
        for row in rows:
            new = copy(row)
            setattr(new, formset.fk.name, twin)
            new.save()
    return typed(twin)  # read anew: the copy brought along what was prefetched before

"""A guard's form filled in with a preset, made for the account's positions as they run now."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from django.contrib import messages
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied, ValidationError
from django.forms import BaseModelForm
from django.forms.utils import ErrorDict
from django.http import HttpRequest, HttpResponse, QueryDict

from accounts.models import Account
from automations.deciding import table
from automations.models import MarginGuard
from automations.models.kinds import Kind
from automations.previewed import BUTTON, NotToBeSaved, PreviewedAdmin
from automations.previewing import CannotBeSeenError, see
from automations.rules.presets import Preset, PresetName, preset
from automations.rules.scope import Scope
from exchange.formulas import Side
from exchange.position import Position

PRESET: Final = "_preset"
"""What the buttons that fill the form in are called in it."""
_SAYS: Final = {
    PresetName.CAREFUL: "spends little, then closes",
    PresetName.BALANCED: "spends more, then closes",
    PresetName.ALL_IN: "adds, and never closes",
}
_NEEDED: Final = {
    "account": "Choose the account first: a preset is made for its positions.",
    "regime": "Choose first which positions it is for: isolated trades, or the cross position.",
    "side": "Choose first which side it is for: both, long or short.",
    "only_positions": "Correct the ids of the positions first: a preset is made for these.",
}
"""What has to be typed before, and what is said where it is not."""
_BUDGETS: Final = (
    "budget_per_position_percent", "budget_per_position_sats",
    "budget_per_day_percent", "budget_per_day_sats",
)  # fmt: skip
_OF_STEP: Final = (
    "threshold_percent", "does", "amount_sats", "share_percent", "target_percent",
    "reduce_percentage", "hysteresis_percent", "cooldown_s",
)  # fmt: skip


_MOST_STEPS: Final = 1000
"""As many as a form takes."""


class CannotBeFilledError(Exception):
    """There is no preset to fill in; one sentence says why."""


class Filled(NotToBeSaved):
    """A form that was filled in: of what is missing beside that nothing is said yet."""

    fits = False
    """Whether all of it could be saved."""

    @property
    def errors(self) -> ErrorDict:
        self.fits = not super().errors  # type: ignore[misc]  # mixed into a form
        return ErrorDict()


class FilledAdmin(PreviewedAdmin):
    """An admin of guards, whose form has a button for each preset."""

    change_form_before_template = "admin/automations/presets.html"

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        if request.method == "POST" and PRESET in request.POST:
            # Before the admin's transaction begins: it must not wait for the exchange.
            self._fill(request, object_id)
        return super().changeform_view(request, object_id, form_url, extra_context)

    def _fill(self, request: HttpRequest, object_id: str | None) -> None:
        """Put the preset in the place of what was typed, or say why there is none."""
        guard = self.get_object(request, unquote(object_id)) if object_id else None
        if not self._may_save(request, guard):
            raise PermissionDenied
        try:
            name = _named(request.POST[PRESET])
            positions, where = self._positions(request)
            chosen, regime = _preset(name, positions, where), positions[0].regime
            before = self._steps_to_replace(request, guard)
            made = table(chosen, regime, Account())
            filled = _filled(request.POST, made, before)
            request.POST = filled  # type: ignore[assignment]  # as middleware may
        except CannotBeFilledError as error:
            self.message_user(request, f"Nothing was filled in. {error}", messages.ERROR)
            return
        said = f"Filled in “{name}”, made for {len(positions)} position(s) of {where}."
        self.message_user(request, f"{said} Nothing is saved yet.", messages.INFO)

    def _positions(self, request: HttpRequest) -> tuple[list[Position], str]:
        """Return the positions that the guard will look after, and whose they are."""
        typed = self._typed(request)
        guard = MarginGuard(account=typed["account"], regime=typed["regime"])
        scope = Scope(
            side=Side(typed["side"]) if typed["side"] else None,
            positions=frozenset(typed["only_positions"] or ()),
        )
        try:
            seen = see(guard).seen.positions
        except CannotBeSeenError as error:
            raise CannotBeFilledError(str(error)) from error
        running = seen.positions if seen else ()
        return [each for each in running if scope.covers(each)], str(guard.account)

    def _typed(self, request: HttpRequest) -> Mapping[str, Any]:
        form: Any = super().get_form(request)
        typed: dict[str, Any] = {}
        for name, said in _NEEDED.items():
            try:
                typed[name] = form.base_fields[name].clean(request.POST.get(name))
            except ValidationError as fault:
                raise CannotBeFilledError(said) from fault
        return typed

    def _steps_to_replace(self, request: HttpRequest, guard: Kind | None) -> int:
        """Return how many saved steps the form has, if its user may replace them."""
        typed = request.POST.get("steps-INITIAL_FORMS", "")
        before = min(int(typed), _MOST_STEPS) if typed.isdecimal() else 0
        for steps in self.get_inline_instances(request, guard):
            may_delete = not before or steps.has_delete_permission(request, guard)
            if may_delete and steps.has_add_permission(request, guard):
                return before
        raise CannotBeFilledError("A preset replaces the steps, and you may not do that.")

    def get_form(
        self,
        request: HttpRequest,
        obj: Kind | None = None,
        change: bool = False,  # noqa: FBT001, FBT002 - Django's own signature
        **kwargs: Any,
    ) -> "type[BaseModelForm[Any]]":
        form = super().get_form(request, obj, change, **kwargs)
        return type("FilledForm", (Filled, form), {}) if PRESET in request.POST else form

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        if self._may_save(request, context["original"]):
            context["presets"] = [(name.value, said) for name, said in _SAYS.items()]
        return super().render_change_form(request, context, *args, **kwargs)


def _preset(name: PresetName, positions: list[Position], where: str) -> Preset:
    if not positions:
        raise CannotBeFilledError(
            f"A preset is made for positions, and there is none: {where} has none open now that this"
            " guard would look after."
        )
    try:
        return preset(name, positions)
    except ValueError as fault:
        said = str(fault)
        raise CannotBeFilledError(f"{said[0].upper()}{said[1:]}.") from fault


def _filled(typed: QueryDict, made: MarginGuard, before: int) -> QueryDict:
    """Return what was typed with the preset in it; it is previewed at once."""
    filled = typed.copy()
    for name in typed:
        if _is_of_new_step(name, before):
            del filled[name]
    for number in range(before):
        filled[f"steps-{number}-DELETE"] = "on"
    filled["steps-TOTAL_FORMS"] = str(before + len(made.ladder))
    for number, step in enumerate(made.ladder, start=before):
        for name in _OF_STEP:
            filled[f"steps-{number}-{name}"] = _text(getattr(step, name))
    for name in ("metric", "cooldown_s", *_BUDGETS):
        filled[name] = _text(getattr(made, name))
    filled.pop("backstop", None)
    if made.backstop:
        filled["backstop"] = "on"
    filled[BUTTON] = "Preview"
    return filled


def _named(name: str) -> PresetName:
    try:
        return PresetName(name)
    except ValueError as fault:
        raise CannotBeFilledError("There is no such preset.") from fault


def _is_of_new_step(name: str, before: int) -> bool:
    """Whether a field is of a step that is not saved yet."""
    prefix, _, rest = name.partition("-")
    number = rest.partition("-")[0]
    return prefix == "steps" and number.isdecimal() and int(number) >= before


def _text(value: Any) -> str:
    """Return a value as a person types it."""
    if value is None:
        return ""
    return f"{value.normalize():f}" if isinstance(value, Decimal) else str(value)

"""Automations, executions and the journal in the admin: configure the first, read the others."""

from typing import Any, Final

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Model, Prefetch, QuerySet
from django.forms import BaseInlineFormSet
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from unfold.admin import ModelAdmin, StackedInline, TabularInline
from unfold.decorators import action

from accounts.careful import CarefulForm, with_times
from accounts.switch import Switch
from automations import disarming, ending, exporting, quarantine, resting
from automations.exporting import Format
from automations.filling import FilledAdmin
from automations.models import (
    AutoEntry,
    Automation,
    Execution,
    ExitDisarmed,
    GuardStep,
    JournalEntry,
    MarginGuard,
    Notification,
    PositionThreshold,
    Quarantine,
    TakeProfitStopLoss,
)
from automations.previewed import PreviewedAdmin

_STILL_RESTS: Final = (
    "An order that rests at the exchange stays there until it is filled, expires,"
    " or you cancel it there."
)


class AutomationAdmin(PreviewedAdmin):
    """What the pages of all kinds share."""

    list_select_related = ["account"]
    search_fields = ["name", "account__name"]
    actions = ["enable", "disable", "halt"]

    @admin.action(description="Enable the selected automations")
    def enable(self, request: HttpRequest, queryset: QuerySet[Automation]) -> None:
        changed = self._change(request, queryset, "Enabled", enabled=True, switch=Switch.ACTIVE)
        self.message_user(request, f"{changed} enabled.")

    @admin.action(description="Disable the selected automations")
    def disable(self, request: HttpRequest, queryset: QuerySet[Automation]) -> None:
        changed = self._change(request, queryset, "Disabled", enabled=False)
        self.message_user(request, f"{changed} disabled.")

    @admin.action(
        description="Halt the selected automations: nothing is sent, refusals are written down"
    )
    def halt(self, request: HttpRequest, queryset: QuerySet[Automation]) -> None:
        changed = self._change(request, queryset, "Halted", switch=Switch.HALTED)
        self.message_user(request, f"{changed} halted.")

    def _change(
        self, request: HttpRequest, queryset: QuerySet[Automation], said: str, **fields: Any
    ) -> int:
        """Change what was selected as its form would: with its time, and a line in its history."""
        with transaction.atomic():
            automations = list(queryset)
            changed = queryset.update(**fields, changed_at=timezone.now())
            for automation in automations:
                self.log_change(request, automation, f"{said} with others from the list.")
        return changed


_NAMES: Final = ["account", "name", "enabled", "switch", "shadow"]
_WHO: Final = (None, {"fields": _NAMES})
_WHICH: Final = ("Which positions", {"fields": ["regime", "side", "only_positions"]})


class StepFormSet(BaseInlineFormSet):  # type: ignore[type-arg]  # not generic at run time
    """A guard without a step could never act."""

    def clean(self) -> None:
        super().clean()
        kept = [
            form for form in self.forms if form.cleaned_data and not form.cleaned_data.get("DELETE")
        ]
        if not kept and not any(self.errors):
            raise ValidationError("A guard needs at least one step.")


class GuardStepInline(StackedInline):  # type: ignore[misc]  # unfold is untyped
    model = GuardStep
    form = CarefulForm
    formset = StepFormSet
    extra = 0
    min_num = 1
    fields = [
        ("threshold_percent", "does"),
        ("amount_sats", "share_percent"),
        ("target_percent", "reduce_percentage"),
        ("hysteresis_percent", "cooldown_s"),
    ]
    show_change_link = True  # to the thresholds of single positions


class PositionThresholdInline(TabularInline):  # type: ignore[misc]  # unfold is untyped
    model = PositionThreshold
    form = CarefulForm
    extra = 0


@admin.register(GuardStep)
class GuardStepAdmin(ModelAdmin):  # type: ignore[misc]  # unfold is untyped
    """Thresholds of single positions; the step itself is changed on its guard's page."""

    fields = readonly_fields = ["guard", "threshold_percent", "does"]
    inlines = [PositionThresholdInline]

    def has_module_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False


@admin.register(MarginGuard)
class MarginGuardAdmin(FilledAdmin, AutomationAdmin):
    list_display = ["name", "account", "enabled", "switch", "shadow", "metric", "ladder"]
    list_filter = ["enabled", "switch", "shadow", "metric", "regime", "account"]
    inlines = [GuardStepInline]
    fieldsets = [
        _WHO,
        _WHICH,
        ("When", {"fields": ["metric", "cooldown_s", "backstop"]}),
        (
            "At most",
            {
                "fields": [
                    ("budget_per_position_percent", "budget_per_position_sats"),
                    ("budget_per_day_percent", "budget_per_day_sats"),
                    "accepts_reopening",
                ]
            },
        ),
    ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[MarginGuard]:
        found: QuerySet[MarginGuard] = super().get_queryset(request).prefetch_related("steps")
        return found

    @admin.display(description="steps")
    def ladder(self, guard: MarginGuard) -> str:
        return "; ".join(str(step) for step in guard.steps.all())


@admin.register(TakeProfitStopLoss)
class TakeProfitStopLossAdmin(AutomationAdmin):
    list_display = [
        "name", "account", "enabled", "switch", "shadow", "does", "trigger_pnl_percentage", "standing",
    ]  # fmt: skip
    list_filter = ["enabled", "switch", "shadow", "does", "regime", "account"]
    readonly_fields = ["standing"]
    actions = [*AutomationAdmin.actions, "rearm"]
    actions_submit_line = ["rearm_this"]
    fieldsets = [
        (None, {"fields": [*_NAMES, "standing"]}),
        _WHICH,
        ("When", {"fields": ["trigger_pnl_percentage", "base", "when", "cooldown_s"]}),
        (
            "What",
            {
                "fields": [
                    "does", "on_exchange", "level", "new_takeprofit", "new_stoploss",
                    "distance_percent", "may_loosen",
                ]
            },
        ),
    ]  # fmt: skip

    def get_queryset(self, request: HttpRequest) -> QuerySet[TakeProfitStopLoss]:
        standing = Prefetch("disarmed_on", ExitDisarmed.objects.standing(), to_attr="hands")
        found: QuerySet[TakeProfitStopLoss] = super().get_queryset(request).prefetch_related(standing)
        return found

    @admin.display(description="state")
    def standing(self, automation: TakeProfitStopLoss) -> str:
        """Name the positions on which its owner's hand won."""
        if not automation.pk:
            return "not saved yet"
        hands = getattr(automation, "hands", [])
        if hands:
            return f"disarmed on {'; '.join(str(hand) for hand in hands)}. Re-arm it to act again."
        return "armed" if automation.enabled else "disabled"

    @admin.action(
        description="Re-arm: act again where an exit was changed by hand", permissions=["change"]
    )
    def rearm(self, request: HttpRequest, queryset: QuerySet[TakeProfitStopLoss]) -> None:
        rows = ExitDisarmed.objects.filter(automation__in=queryset.values("pk"))
        count = disarming.rearm(rows, by=request.user.get_username())
        self.message_user(request, f"Re-armed on {count} position(s).")

    @action(description="Re-arm", permissions=["rearm"])  # type: ignore[untyped-decorator]
    def rearm_this(self, request: HttpRequest, automation: TakeProfitStopLoss) -> None:
        """Re-arm the one whose page it is; the button is there while there is a reason for it."""
        self.rearm(request, TakeProfitStopLoss.objects.filter(pk=automation.pk))

    def has_rearm_permission(self, request: HttpRequest, object_id: Any = None) -> bool:
        if not self.has_change_permission(request):
            return False
        # The button itself asks without an object.
        standing = ExitDisarmed.objects.standing().filter(automation=object_id)
        return object_id is None or standing.exists()


@admin.register(AutoEntry)
class AutoEntryAdmin(AutomationAdmin):
    list_display = [
        "name", "account", "enabled", "switch", "side", "trigger_price", "trigger_type", "standing",
    ]  # fmt: skip
    list_filter = ["enabled", "switch", "side", "regime", "account"]
    readonly_fields = ["standing"]
    fieldsets = [
        (None, {"fields": [*_NAMES, "standing"]}),
        ("What", {"fields": ["market", "regime", "side", "leverage", ("quantity", "margin_sats")]}),
        ("Exits", {"fields": ["stoploss", "takeprofit"]}),
        (
            "When",
            {
                "fields": [
                    "trigger_price", "trigger_type", "breakout", "slippage_percent", "expires_at",
                ]
            },
        ),
        ("How often", {"fields": ["most_times", "pause_s", "cooldown_s"]}),
    ]  # fmt: skip

    @admin.display(description="state")
    def standing(self, entry: AutoEntry) -> str:
        if not entry.pk:
            return "not saved yet"
        word = ending.over(entry)
        if word == ending.REFUSED:
            return f"{word}: {ending.last_refusal(entry)} Enable it to try again."
        return word or ("armed" if entry.enabled else "disabled")

    @admin.action(description="Disable the selected automations")
    def disable(self, request: HttpRequest, queryset: QuerySet[Automation]) -> None:
        super().disable(request, queryset)
        self._say_what_rests(request, queryset)

    def save_model(self, request: HttpRequest, obj: AutoEntry, form: Any, change: bool) -> None:  # noqa: FBT001
        super().save_model(request, obj, form, change)
        if "enabled" in form.changed_data and not obj.enabled:
            self._say_what_rests(request, Automation.objects.filter(pk=obj.pk))

    def _say_what_rests(self, request: HttpRequest, disabled: QuerySet[Automation]) -> None:
        if resting.resting().filter(automation__in=disabled).exists():
            self.message_user(request, _STILL_RESTS, messages.WARNING)


class RecordAdmin(ModelAdmin):  # type: ignore[misc]  # unfold is untyped
    """What happened can be looked at and not be changed; its times are told to the millisecond."""

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        return with_times(self.opts, super().get_list_display(request), milliseconds=True)

    def get_fields(self, request: HttpRequest, obj: Model | None = None) -> list[Any]:
        return with_times(self.opts, super().get_fields(request, obj), milliseconds=True)

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False


@admin.register(Execution)
class ExecutionAdmin(RecordAdmin):
    list_display = [
        "id",
        "decided_at",
        "automation",
        "does",
        "amount_sats",
        "quantity",
        "level",
        "state",
        "origin",
        "why",
        "error",
    ]
    list_filter = ["state", "does", "origin", "account"]
    list_select_related = ["account", "automation__account"]
    search_fields = ["position_id", "why", "error"]
    date_hierarchy = "decided_at"


MOST_EXPORTED: Final = 20_000
"""A page is made in memory."""
_CONTENT_TYPES: Final = {Format.CSV: "text/csv; charset=utf-8", Format.JSONL: "application/x-ndjson"}


@admin.register(JournalEntry)
class JournalEntryAdmin(RecordAdmin):
    list_display = ["timestamp", "event", "account", "automation", "position_id", "message"]
    list_filter = ["event", "account"]
    list_select_related = ["account", "automation__account"]
    search_fields = ["position_id", "message"]
    date_hierarchy = "timestamp"
    actions = ["as_csv", "as_jsonl"]

    @admin.action(description="Export the selected entries as CSV", permissions=["view"])
    def as_csv(self, request: HttpRequest, queryset: QuerySet[JournalEntry]) -> HttpResponse | None:
        return self._exported(request, queryset, Format.CSV)

    @admin.action(description="Export the selected entries as JSON lines", permissions=["view"])
    def as_jsonl(self, request: HttpRequest, queryset: QuerySet[JournalEntry]) -> HttpResponse | None:
        return self._exported(request, queryset, Format.JSONL)

    def _exported(
        self, request: HttpRequest, queryset: QuerySet[JournalEntry], form: Format
    ) -> HttpResponse | None:
        if queryset.count() > MOST_EXPORTED:
            said = f"More than {MOST_EXPORTED:,} entries: export them with manage.py journal export."
            self.message_user(request, said, messages.ERROR)
            return None
        return HttpResponse(
            "".join(exporting.lines(exporting.in_order(queryset), form)),
            content_type=_CONTENT_TYPES[form],
            headers={"Content-Disposition": f'attachment; filename="journal.{form}"'},
        )


@admin.register(Notification)
class NotificationAdmin(RecordAdmin):
    list_display = ["made_at", "account", "subject", "state", "recipient", "attempts", "error"]
    list_filter = ["state", "account"]
    list_select_related = ["account"]
    search_fields = ["subject", "text", "recipient"]
    date_hierarchy = "made_at"


@admin.register(Quarantine)
class QuarantineAdmin(RecordAdmin):
    list_display = ["automation", "position_id", "since", "deliveries", "why"]
    list_filter = ["automation__account"]
    list_select_related = ["automation__account"]
    search_fields = ["position_id", "automation__name"]
    actions = ["release"]

    @admin.action(description="Release: let workers look again", permissions=["release"])
    def release(self, request: HttpRequest, queryset: QuerySet[Quarantine]) -> None:
        rows = list(queryset)
        for row in rows:
            quarantine.release(row, by=request.user.get_username())
        self.message_user(request, f"{len(rows)} released.")

    def has_release_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("automations.delete_quarantine")

"""Automations, executions and the journal in the admin: configure the first, read the others."""

from typing import Any

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from automations.models import Execution, JournalEntry, MarginGuard


@admin.register(MarginGuard)
class MarginGuardAdmin(ModelAdmin):  # type: ignore[misc]  # unfold is untyped
    list_display = ["name", "account", "enabled", "metric", "threshold_percent", "does"]
    list_filter = ["enabled", "metric", "does", "account"]
    list_select_related = ["account"]
    search_fields = ["name", "account__name"]
    actions = ["enable", "disable"]
    fieldsets = [
        (None, {"fields": ["account", "name", "enabled"]}),
        ("When", {"fields": ["metric", "threshold_percent", "cooldown_s"]}),
        ("What", {"fields": ["does", "amount_sats", "target_percent"]}),
        ("At most", {"fields": ["budget_per_position_sats", "budget_per_day_sats"]}),
    ]

    @admin.action(description="Enable the selected guards")
    def enable(self, request: HttpRequest, queryset: QuerySet[MarginGuard]) -> None:
        self.message_user(request, f"{queryset.update(enabled=True)} enabled.")

    @admin.action(description="Disable the selected guards")
    def disable(self, request: HttpRequest, queryset: QuerySet[MarginGuard]) -> None:
        self.message_user(request, f"{queryset.update(enabled=False)} disabled.")


class RecordAdmin(ModelAdmin):  # type: ignore[misc]  # unfold is untyped
    """What happened can be looked at and not be changed."""

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
        "state",
        "origin",
        "why",
        "error",
    ]
    list_filter = ["state", "does", "origin", "account"]
    list_select_related = ["account", "automation__account"]
    search_fields = ["position_id", "why", "error"]
    date_hierarchy = "decided_at"


@admin.register(JournalEntry)
class JournalEntryAdmin(RecordAdmin):
    list_display = ["timestamp", "event", "account", "automation", "position_id", "message"]
    list_filter = ["event", "account"]
    list_select_related = ["account", "automation__account"]
    search_fields = ["position_id", "message"]
    date_hierarchy = "timestamp"

"""Accounts in the admin: secrets go in and never come out."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils import timezone
from unfold.admin import ModelAdmin, StackedInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminSelectWidget

from accounts import inquiries
from accounts.careful import CarefulAdmin, CarefulForm
from accounts.models import Account, Inquiry, Installation, Profile, fingerprint
from accounts.times import written, zone_names
from exchange.auth import Credentials

SECRET_FIELDS = ("key", "secret", "passphrase")


def _secret_field(label: str) -> forms.CharField:
    return forms.CharField(
        label=label,
        required=False,
        strip=True,
        max_length=500,
        widget=UnfoldAdminPasswordWidget(attrs={"autocomplete": "off"}, render_value=False),
    )


class AccountForm(CarefulForm):
    """Three write-only fields: all empty keeps what is stored, all filled replaces it."""

    key = _secret_field("API key")
    secret = _secret_field("API secret")
    passphrase = _secret_field("Passphrase")

    class Meta:
        model = Account
        fields = [
            "owner", "name", "network", "is_active",
            "switch", "reserve_sats", "budget_per_day_sats", "entry_budget_per_day_sats",
            "commands_per_minute", "guard_commands_per_minute",
        ]  # fmt: skip

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        given = [name for name in SECRET_FIELDS if cleaned.get(name)]
        if len(given) < len(SECRET_FIELDS) and (given or self.instance.pk is None):
            for name in SECRET_FIELDS:
                if name not in given and name not in self.errors:
                    self.add_error(name, "Key, secret and passphrase belong together: enter all three.")
        for name in given:
            if not (cleaned[name].isascii() and cleaned[name].isprintable()):
                self.add_error(name, "Only plain ASCII characters can be part of a key.")
        if not self.errors:
            self._refuse_a_key_in_use(cleaned)
        if not (self.errors or given):
            self._ask_for_the_key_anew()
        return cleaned

    def _ask_for_the_key_anew(self) -> None:
        """What is sealed opens for its owner and network alone."""
        for name in {"owner", "network"} & set(self.changed_data):
            self.add_error(
                name, f"Another {name} means entering key, secret and passphrase anew: enter all three."
            )

    def save(self, commit: bool = True) -> Account:  # noqa: FBT001, FBT002 - Django's own signature
        """Take over credentials only here: a form that is refused must leave the account as it was."""
        cleaned = self.cleaned_data
        if cleaned["key"]:
            values = {name: cleaned[name] for name in SECRET_FIELDS}
            self.instance.set_credentials(Credentials(**values))
        account: Account = super().save(commit)
        return account

    def _refuse_a_key_in_use(self, cleaned: dict[str, Any]) -> None:
        """Say what the constraint would: Django checks none whose fields are not all in the form."""
        new = cleaned["key"]
        found = Account.objects.exclude(pk=self.instance.pk).filter(
            network=cleaned["network"],
            key_fingerprint=fingerprint(new) if new else self.instance.key_fingerprint,
        )
        if found.exists():
            self.add_error("key" if new else "network", "This API key already belongs to an account.")


@admin.register(Account)
class AccountAdmin(CarefulAdmin):
    form = AccountForm
    list_display = [
        "name",
        "owner",
        "network",
        "key_hint",
        "is_active",
        "switch",
        "verified_at",
        "connection",
        "fault",
    ]
    list_filter = ["network", "is_active"]
    search_fields = ["name", "owner__username"]
    readonly_fields = ["key_hint", "connection", "verified_at", "fault", "recheck_at", "created_at"]
    actions = ["test_connection"]
    fieldsets = [
        (None, {"fields": ["owner", "name", "network", "is_active"]}),
        (
            "Credentials",
            {
                "description": "Sealed when saved, never shown again. Leave all empty to keep them.",
                "fields": [*SECRET_FIELDS, "key_hint"],
            },
        ),
        (
            "Limits",
            {
                "fields": [
                    "switch", "reserve_sats", "budget_per_day_sats", "entry_budget_per_day_sats",
                    "commands_per_minute", "guard_commands_per_minute",
                ]
            },
        ),
        ("Connection", {"fields": ["connection", "verified_at", "fault", "recheck_at", "created_at"]}),
    ]  # fmt: skip

    @admin.action(description="Test the connection of the selected accounts")
    def test_connection(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        for account in queryset:
            self._test(request, account)

    @admin.display(description="connection")
    def connection(self, account: Account) -> str:
        """Return what came of the newest test, or how far it is."""
        tests = getattr(account, "newest_test", None)
        if tests is None:
            tests = Inquiry.objects.filter(account=account, kind=Inquiry.Kind.CONNECTION)
            tests = tests.order_by("-id")[:1]
        return _told(tests[0]) if tests else "-"

    def get_queryset(self, request: HttpRequest) -> QuerySet[Account]:
        tests = Inquiry.objects.filter(kind=Inquiry.Kind.CONNECTION).order_by("account_id", "-id")
        newest = Prefetch("inquiries", tests.distinct("account_id"), to_attr="newest_test")
        found: QuerySet[Account] = super().get_queryset(request)
        return found.prefetch_related(newest)

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show the list again every 2 s while a test is under way."""
        page: HttpResponse = super().changelist_view(request, extra_context)
        since = timezone.now() - Inquiry.ANSWERED_WITHIN
        under_way = Inquiry.objects.filter(
            kind=Inquiry.Kind.CONNECTION, answered_at=None, asked_at__gt=since
        )
        if request.method == "GET" and under_way.exists():
            page["Refresh"] = "2"
        return page

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:  # noqa: FBT001
        """Save, and have the connection tested at once when the key is new."""
        super().save_model(request, obj, form, change)
        if obj.verified_at is None:
            self._test(request, obj)

    def _test(self, request: HttpRequest, account: Account) -> None:
        """Ask a worker, for web cannot open the key; the list shows what comes of it."""
        inquiries.ask(account, Inquiry.Kind.CONNECTION)
        self.message_user(request, f"{account}: its connection is being tested.")


def _told(test: Inquiry) -> str:
    """Return how far a test of a connection is, or what came of it."""
    if test.answered_at is None:
        if test.is_open(timezone.now()):
            return f"being tested since {written(test.asked_at)}"
        return f"no worker answered the test of {written(test.asked_at)}: test it again"
    when = written(test.answered_at)
    if test.answer is None:
        acts = " Automations act for it as before." if test.account.may_act else ""
        return f"{test.fault}{acts} ({when})"
    return f"connected, balance {test.answer['balance']:,} sats ({when})"


@admin.register(Installation)
class InstallationAdmin(ModelAdmin):  # type: ignore[misc]  # unfold is untyped
    """One row: it can be changed, not added to nor removed."""

    list_display = ["__str__"]
    fields = ["switch"]

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Installation]:
        Installation.current()
        found: QuerySet[Installation] = super().get_queryset(request)
        return found


admin.site.unregister(User)
admin.site.unregister(Group)


def signed_in(request: HttpRequest) -> User:
    assert isinstance(request.user, User), "the admin lets nobody else in"
    return request.user


class ProfileForm(CarefulForm):
    time_zone = forms.ChoiceField(
        choices=lambda: [(name, name) for name in zone_names()],
        help_text="Pages and messages say times in this zone. Exports and logs stay in UTC.",
        widget=UnfoldAdminSelectWidget,
    )

    class Meta:
        model = Profile
        fields = ["time_zone"]


@admin.register(Profile)
class ProfileAdmin(CarefulAdmin):
    """Whoever may sign in chooses for himself, and there is no list of others."""

    form = ProfileForm

    def changelist_view(
        self,
        request: HttpRequest,
        extra_context: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> HttpResponse:
        own, _ = Profile.objects.get_or_create(user=signed_in(request))
        return redirect("admin:accounts_profile_change", own.pk)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Profile]:
        return Profile.objects.filter(user=signed_in(request))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active)

    def has_view_permission(self, request: HttpRequest, obj: Profile | None = None) -> bool:
        return obj is None or obj.pk == request.user.pk

    has_change_permission = has_view_permission

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002
        return False

    def response_change(self, request: HttpRequest, obj: Profile) -> HttpResponse:
        self.message_user(request, f"Times are said in {obj.time_zone} from now on.", messages.SUCCESS)
        return redirect("admin:index")


class ProfileInline(StackedInline):  # type: ignore[misc]  # unfold is untyped
    """For the owners who do not sign in themselves."""

    model = Profile
    form = ProfileForm
    can_delete = False


@admin.register(User)
class UserAdmin(DjangoUserAdmin, ModelAdmin):  # type: ignore[misc,type-arg]  # unfold is untyped
    form = UserChangeForm
    inlines = [ProfileInline]
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc]  # unfold is untyped
    pass

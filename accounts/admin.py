"""Accounts in the admin: secrets go in and never come out."""

from typing import Any, assert_never

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.admin import ModelAdmin, StackedInline
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminPasswordWidget, UnfoldAdminSelectWidget

from accounts import services
from accounts.careful import CarefulAdmin, CarefulForm
from accounts.models import Account, Installation, Profile, fingerprint
from accounts.times import zone_names
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
        "fault",
    ]
    list_filter = ["network", "is_active"]
    search_fields = ["name", "owner__username"]
    readonly_fields = ["key_hint", "verified_at", "fault", "recheck_at", "created_at"]
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
        ("Connection", {"fields": ["verified_at", "fault", "recheck_at", "created_at"]}),
    ]  # fmt: skip

    @admin.action(description="Test the connection of the selected accounts")
    def test_connection(self, request: HttpRequest, queryset: QuerySet[Account]) -> None:
        for account in queryset:
            self._test(request, account)

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:  # noqa: FBT001
        """Save, then test the connection at once when the key or the network is new.

        Once it is committed: nobody is to wait for the exchange at a row that is being changed.
        """
        super().save_model(request, obj, form, change)
        if obj.verified_at is None:
            transaction.on_commit(lambda: self._test(request, obj))

    def _test(self, request: HttpRequest, account: Account) -> None:
        match services.verify(account):
            case services.Verified(balance=balance):
                self.message_user(request, f"{account}: connected, balance {balance:,} sats.")
            case services.NotVerified(fault=fault):
                acts = Account.objects.acting().filter(pk=account.pk).exists()
                on = " Automations act for it as before." if acts else ""
                self.message_user(request, f"{account}: {fault}{on}", level=messages.ERROR)
            case never:
                assert_never(never)


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

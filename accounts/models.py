"""An account at the exchange: one API key, sealed, owned by one user."""

import hashlib
import uuid
from datetime import datetime, timedelta
from typing import ClassVar, Self

from django.conf import settings
from django.core.validators import MinValueValidator
from django.db import connection, models
from django.db.models import Q
from django.utils import timezone

from accounts import crypto
from accounts.switch import Switch, switch_field
from exchange.auth import Credentials
from exchange.config import Network


def fingerprint(key: str) -> str:
    """Return what tells one API key from another without showing it."""
    return hashlib.sha256(key.encode()).hexdigest()


def held_keys() -> crypto.Keys:
    """Return the keys with which this process seals, and those with which it opens."""
    return crypto.keys_of(
        tuple(settings.SEAL_PUBLIC_KEYS),
        tuple(settings.SEAL_PRIVATE_KEYS),
        tuple(settings.CREDENTIAL_KEYS),
    )


def _next_number() -> int:
    """Take the next number of an account, as the database would when the row is added."""
    table = Account._meta.db_table  # noqa: SLF001 - Django's own documented API, despite its name
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval(pg_get_serial_sequence(%s, 'id'))", [table])
        return int(cursor.fetchone()[0])


class Installation(models.Model):
    """What holds for everything: one row, made by the first migration."""

    switch = switch_field()
    identity = models.UUIDField(default=uuid.uuid4, editable=False)
    """What credentials are sealed for: a copy of a row opens in no other installation."""

    class Meta:
        verbose_name = verbose_name_plural = "switch for everything"
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="there_is_one_installation"),
            models.CheckConstraint(
                condition=Q(switch__in=Switch.values), name="installation_switch_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"Everything: {self.get_switch_display()}"

    @classmethod
    def current(cls) -> "Installation":
        """Return the row; made anew, and active, where somebody emptied the table."""
        return cls.objects.get_or_create(pk=1)[0]


class Profile(models.Model):
    """What a user chose for the pages and messages that he reads; without a row, the defaults hold."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="profile"
    )
    time_zone = models.CharField(max_length=64, default="UTC")

    class Meta:
        verbose_name = "time zone"
        verbose_name_plural = "your time zone"

    def __str__(self) -> str:
        return self.time_zone


class AccountQuerySet(models.QuerySet["Account"]):
    def acting(self) -> Self:
        """Return the accounts that automations may act for: active and verified."""
        return self.filter(is_active=True, verified_at__isnull=False)


class Account(models.Model):
    """One API key. Its secret parts leave `credentials_sealed` only through `credentials()`."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="exchange_accounts"
    )
    name = models.CharField(max_length=100, help_text="What you call it; unique among your accounts.")
    network = models.CharField(
        max_length=16,
        choices=[(network.value, network.value) for network in Network],
        help_text="Where the key was made. “paper” is the practice exchange of this installation.",
    )
    credentials_sealed = models.TextField(editable=False)
    key_fingerprint = models.CharField(max_length=64, editable=False)
    key_hint = models.CharField("key", max_length=16, editable=False)
    is_active = models.BooleanField(
        "active", default=True, help_text="Automations act for active, verified accounts only."
    )
    verified_at = models.DateTimeField(
        null=True,
        editable=False,
        help_text="When the exchange last accepted the key; empty until the connection was tested.",
    )
    fault = models.CharField(
        max_length=500,
        blank=True,
        editable=False,
        help_text="Why the last test of the connection failed.",
    )
    refusals = models.PositiveSmallIntegerField(
        default=0,
        editable=False,
        help_text="How often in a row the exchange refused the key of an account that still acts.",
    )
    recheck_at = models.DateTimeField(
        "asked again at",
        null=True,
        editable=False,
        help_text="When the exchange is asked about the key by itself; empty while it is good.",
    )
    switch = switch_field()
    reserve_sats = models.PositiveBigIntegerField(
        "reserve (sats)", default=0, help_text="Free balance that no automation may spend."
    )
    budget_per_day_sats = models.PositiveBigIntegerField(
        "budget per 24 hours (sats)",
        null=True,
        blank=True,
        help_text="All guards of the account together never add more; empty: no such bound.",
    )
    entry_budget_per_day_sats = models.PositiveBigIntegerField(
        "entry budget per 24 hours (sats)",
        null=True,
        blank=True,
        help_text=(
            "All entries of the account together never spend more, and never what its guards may need;"
            " empty: no such bound."
        ),
    )
    commands_per_minute = models.PositiveIntegerField(
        "commands per minute",
        default=60,
        validators=[MinValueValidator(1)],
        help_text="Entries and exits send no more than this within a minute.",
    )
    guard_commands_per_minute = models.PositiveIntegerField(
        "guards' commands per minute",
        default=300,
        validators=[MinValueValidator(1)],
        help_text="All guards of the account together send no more than this within a minute.",
    )
    cross_since = models.DateTimeField(
        null=True,
        editable=False,
        help_text="Since when its present cross position counts: it was flat then. Empty: since ever.",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[models.Manager["Account"]] = AccountQuerySet.as_manager()

    ASKED_AGAIN: ClassVar[tuple[timedelta, ...]] = (timedelta(seconds=2), timedelta(seconds=10))
    """When a key is asked again: after the first refusal, and after the second. The third suspends."""
    VERIFIED_AGAIN: ClassVar[timedelta] = timedelta(minutes=5)
    """Between two tests of an account's connection while its key is refused or unfit."""
    TESTED_AGAIN: ClassVar[timedelta] = timedelta(seconds=30)
    """After a test that found nothing out, for the exchange did not answer, say."""

    class Meta:
        ordering = ["owner_id", "name"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "name"], name="account_name_is_unique_per_owner"),
            models.UniqueConstraint(
                fields=["network", "key_fingerprint"],
                name="api_key_belongs_to_one_account",
                violation_error_message="This API key already belongs to an account.",
            ),
            models.CheckConstraint(
                condition=Q(network__in=[network.value for network in Network]),
                name="account_network_is_known",
            ),
            models.CheckConstraint(condition=~Q(credentials_sealed=""), name="account_has_credentials"),
            models.CheckConstraint(
                condition=Q(switch__in=Switch.values), name="account_switch_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.network})"

    def set_credentials(self, credentials: Credentials) -> None:
        """Seal new credentials; the account must be verified again before anything acts for it.

        They are sealed to the account's number, owner and network: those are to be set before. An
        account that is not saved yet is given its number here.
        """
        self.pk = self.pk or _next_number()
        self.credentials_sealed = crypto.seal(credentials, self._place(), held_keys())
        self.key_fingerprint = fingerprint(credentials.key)
        self.key_hint = f"…{credentials.key[-4:]}"
        self.verified_at = self.recheck_at = None
        self.refusals = 0
        self.fault = ""

    def credentials(self, keys: crypto.Keys | None = None) -> Credentials:
        """Open the seal, with the keys of this process unless others are given.

        Raises:
            accounts.crypto.SealBrokenError: no key of this process opens it for this account, owner,
                network and installation.
        """
        return crypto.unseal(self.credentials_sealed, self._place(), keys or held_keys())

    def seal_anew(self) -> bool:
        """Seal the same credentials with the newest key, unless others were entered meanwhile.

        Nothing else changes: the account goes on acting. Returns whether it was done.

        Raises:
            accounts.crypto.SealBrokenError: as `credentials`, also where the newest key's private half
                is not here: what nobody opens is not to be written.
        """
        keys = held_keys()
        anew = crypto.seal(self.credentials(), self._place(), keys)
        crypto.unseal(anew, self._place(), keys)
        if not self.as_read().update(credentials_sealed=anew):
            return False
        self.credentials_sealed = anew
        return True

    def _place(self) -> crypto.Place:
        return crypto.Place(
            installation=str(Installation.current().identity),
            account=self.pk,
            owner=self.owner_id,
            network=str(self.network),
        )

    @property
    def may_act(self) -> bool:
        return self.is_active and self.verified_at is not None

    def mark_verified(self, now: datetime) -> bool:
        """Let automations act for it; see `_judge` for the answer."""
        return self._judge(now, "", recheck_at=None)

    def suspend(self, fault: str) -> bool:
        """Stop acting for it until its connection is good; see `_judge` for the answer."""
        return self._judge(None, fault, recheck_at=timezone.now() + self.VERIFIED_AGAIN)

    def stay_unverified(self, fault: str, *, recheck_at: datetime) -> bool:
        """Remember why an account that does not act cannot yet, and test it again by itself.

        Returns:
            False where it acts, or has other credentials by now: nothing changes.
        """
        idle = self.as_read().filter(verified_at=None)
        return idle.update(fault=fault[:500], recheck_at=recheck_at) == 1

    def doubt(self, recheck_at: datetime) -> bool:
        """Have the key asked again then, for it was refused; return whether it was not in doubt yet."""
        acting = self.as_read().filter(verified_at__isnull=False, refusals=0)
        return acting.update(refusals=1, recheck_at=recheck_at) == 1

    def as_read(self) -> models.QuerySet["Account"]:
        """Return its row while that has the credentials with which this object was read."""
        return Account.objects.filter(pk=self.pk, credentials_sealed=self.credentials_sealed)

    def asked(self) -> models.QuerySet["Account"]:
        """Return the same while nobody else has asked or tested the key since."""
        return self.as_read().filter(recheck_at=self.recheck_at)

    def _judge(self, verified_at: datetime | None, fault: str, *, recheck_at: datetime | None) -> bool:
        """Remember what the exchange said about the credentials that this object was read with.

        Returns:
            False where others were entered meanwhile, about which nothing was said: nothing changes.
        """
        judged = {"verified_at": verified_at, "fault": fault[:500], "recheck_at": recheck_at}
        if not self.as_read().update(**judged, refusals=0):
            return False
        self.verified_at, self.fault, self.recheck_at = verified_at, fault[:500], recheck_at
        self.refusals = 0
        return True


class Inquiry(models.Model):
    """What somebody wants to know of the exchange about an account, and what a worker found out.

    Web cannot open credentials, so that it asks here: the row is the question, and the message that
    calls a worker holds nothing but its number.
    """

    class Kind(models.TextChoices):
        CONNECTION = "connection", "test of the connection"
        SIGHT = "sight", "what a preview needs"

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="inquiries")
    kind = models.CharField(max_length=16, choices=Kind.choices)
    asks = models.JSONField(default=dict)
    asked_at = models.DateTimeField()
    taken_at = models.DateTimeField(null=True)
    answered_at = models.DateTimeField(null=True)
    answer = models.JSONField(null=True)
    fault = models.CharField(max_length=500, blank=True)
    """Why there is no answer, in a sentence."""

    ANSWERED_WITHIN: ClassVar[timedelta] = timedelta(minutes=1)
    """An inquiry older than this is not answered any more: whoever asked has gone."""

    class Meta:
        verbose_name_plural = "inquiries"
        indexes = [
            models.Index(
                fields=["asked_at"], condition=Q(answered_at=None), name="inquiry_to_be_answered"
            ),
            models.Index(fields=["account", "kind", "-id"], name="inquiry_by_account"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=["connection", "sight"]), name="inquiry_kind_is_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} of {self.account}"

    def is_open(self, now: datetime) -> bool:
        """Whether an answer may still come."""
        return self.answered_at is None and now < self.asked_at + self.ANSWERED_WITHIN

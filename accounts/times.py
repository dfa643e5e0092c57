"""Times as people read them: with seconds, in the zone that each chose, and naming it."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone
from django.utils.deprecation import MiddlewareMixin

from accounts.models import Profile


def zone_of(user_id: int) -> tzinfo:
    """Return the zone that a user chose; UTC where none is chosen, or it is known no more."""
    chosen = Profile.objects.filter(user_id=user_id).values_list("time_zone", flat=True).first()
    try:
        return ZoneInfo(chosen) if chosen else UTC
    except (ZoneInfoNotFoundError, ValueError):
        return UTC


def zone_names() -> list[str]:
    """Return the zones to choose from, as the IANA names them: UTC first."""
    places = {name for name in available_timezones() if "/" in name and not name.startswith("Etc/")}
    return ["UTC", *sorted(places)]


def written(at: datetime, zone: tzinfo | None = None, *, milliseconds: bool = False) -> str:
    """Return an aware time such as `2026-10-25 02:30:00 CEST`, by default in the current zone.

    The short name tells summer time from the same hour that comes again after it.
    """
    local = at.astimezone(zone or timezone.get_current_timezone())
    thousandths = f".{local.microsecond // 1000:03d}" if milliseconds else ""
    return f"{local:%Y-%m-%d %H:%M:%S}{thousandths} {local.tzname()}"


class TimeZoneMiddleware(MiddlewareMixin):
    """Pages of the admin show and take times in the zone of whoever is signed in.

    No other page asks who that is: health checks answer without a database.
    """

    def process_request(self, request: HttpRequest) -> None:
        if request.path.startswith("/admin/") and request.user.is_authenticated:
            timezone.activate(zone_of(request.user.pk))

    def process_response(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django's own signature
        response: HttpResponseBase,
    ) -> HttpResponseBase:
        timezone.deactivate()
        return response

"""Which page answers to which address."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from hubdefisats import health

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("health/live", health.live),
    path("health/ready", health.ready),
]

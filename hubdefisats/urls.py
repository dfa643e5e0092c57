"""Which page answers to which address."""

from django.contrib import admin
from django.urls import path
from django.views.generic import RedirectView

from hubdefisats import health, metrics

urlpatterns = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("health/live", health.live),
    path("metrics", metrics.metrics),
    path("health/ready", health.ready),
    path("metrics", metrics.metrics),
]

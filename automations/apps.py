"""The app's name."""

from django.apps import AppConfig


class AutomationsConfig(AppConfig):
    name = "automations"

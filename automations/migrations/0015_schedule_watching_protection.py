"""Owners know within 5 s that protection is back: looked for every 4 s, as a row that people may change."""

from django.db import migrations

NAME = "Watch whether protection ended or is back"
TASK = "automations.tasks.watch_protection"
EVERY_S = 4


def add_task(apps, schema_editor):
    IntervalSchedule = apps.get_model("django_celery_beat", "IntervalSchedule")
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    every, _ = IntervalSchedule.objects.get_or_create(every=EVERY_S, period="seconds")
    PeriodicTask.objects.get_or_create(
        name=NAME,
        defaults={
            "task": TASK,
            "interval": every,
            "expire_seconds": EVERY_S - 1,
            "description": "What kept a guard from acting may be over: its owner is told then.",
        },
    )


def remove_task(apps, schema_editor):
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    PeriodicTask.objects.filter(task=TASK).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("automations", "0014_presets_numbers_are_positive"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [migrations.RunPython(add_task, remove_task)]

"""Known within 5 s: that protection is back, and what became of an action once the exchange answers.

Both are looked for every 4 s, by rows that people may change.
"""

from django.db import migrations

NAME = "Watch whether protection ended or is back"
TASK = "automations.tasks.watch_protection"
EVERY_S = 4
SETTLES = "automations.tasks.reconcile"


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


def settle_sooner(apps, schema_editor):
    _settle_every(apps, before_s=10, now_s=EVERY_S)


def settle_later(apps, schema_editor):
    _settle_every(apps, before_s=EVERY_S, now_s=10)


def _settle_every(apps, *, before_s, now_s):
    """What people chose themselves stays."""
    IntervalSchedule = apps.get_model("django_celery_beat", "IntervalSchedule")
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    every, _ = IntervalSchedule.objects.get_or_create(every=now_s, period="seconds")
    found = PeriodicTask.objects.filter(task=SETTLES, interval__every=before_s, interval__period="seconds")
    found.update(interval=every, expire_seconds=now_s - 1)


def remove_task(apps, schema_editor):
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    PeriodicTask.objects.filter(task=TASK).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("automations", "0014_presets_numbers_are_positive"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [
        migrations.RunPython(add_task, remove_task),
        migrations.RunPython(settle_sooner, settle_later),
    ]

"""What an older version sealed without its place is sealed anew by a worker, as a row that people may change."""

from django.db import migrations

NAME = "Seal to its place what an older version sealed"
TASK = "automations.tasks.seal_older_credentials"
EVERY_MINUTES = 10


def add_task(apps, schema_editor):
    IntervalSchedule = apps.get_model("django_celery_beat", "IntervalSchedule")
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    every, _ = IntervalSchedule.objects.get_or_create(every=EVERY_MINUTES, period="minutes")
    PeriodicTask.objects.get_or_create(
        name=NAME,
        defaults={
            "task": TASK,
            "interval": every,
            "expire_seconds": 60 * EVERY_MINUTES - 1,
            "description": "Credentials sealed by a version that bound them to no account. Nothing to do once all are.",
        },
    )


def remove_task(apps, schema_editor):
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    PeriodicTask.objects.filter(task=TASK).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0004_seals_are_bound"),
        ("automations", "0016_funding_may_be_unknown"),
    ]

    operations = [migrations.RunPython(add_task, remove_task)]

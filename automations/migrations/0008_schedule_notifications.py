"""The schedule of notifications, as rows that people may change in the admin."""

from django.db import migrations


TASKS = [
    (
        "Deliver the notifications",
        "automations.tasks.deliver_notifications",
        30,
        "What could not be delivered at once, or failed before.",
    ),
    (
        "Prune old notifications",
        "automations.tasks.prune_notifications",
        86_400,
        "Nothing younger than 90 days goes, and nothing that still waits.",
    ),
]


def add_tasks(apps, schema_editor):
    IntervalSchedule = apps.get_model("django_celery_beat", "IntervalSchedule")
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    for name, task, every_s, description in TASKS:
        every, _ = IntervalSchedule.objects.get_or_create(every=every_s, period="seconds")
        PeriodicTask.objects.get_or_create(
            name=name,
            defaults={
                "task": task,
                "interval": every,
                "expire_seconds": every_s - 1,
                "description": description,
            },
        )


def remove_tasks(apps, schema_editor):
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    PeriodicTask.objects.filter(task__in=[task for _, task, _, _ in TASKS]).delete()


class Migration(migrations.Migration):
    dependencies = [("automations", "0007_notifications")]

    operations = [migrations.RunPython(add_tasks, remove_tasks)]

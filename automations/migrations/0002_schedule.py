"""The sweeps' schedule, as rows that people may change in the admin."""

from django.db import migrations


def add_sweeps(apps, schema_editor):
    IntervalSchedule = apps.get_model("django_celery_beat", "IntervalSchedule")
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    every, _ = IntervalSchedule.objects.get_or_create(every=30, period="seconds")
    PeriodicTask.objects.get_or_create(
        name="Sweep the margin guards",
        defaults={
            "task": "automations.tasks.sweep_margin_guards",
            "interval": every,
            # A late tick is dropped before the next comes, so that a pause is not made up for at once.
            "expire_seconds": 25,
            "description": "The second way to every guard's action, beside the stream.",
        },
    )


def remove_sweeps(apps, schema_editor):
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    PeriodicTask.objects.filter(task="automations.tasks.sweep_margin_guards").delete()


class Migration(migrations.Migration):
    dependencies = [
        ("automations", "0001_initial"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [migrations.RunPython(add_sweeps, remove_sweeps)]

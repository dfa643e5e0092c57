"""The schedule, as rows that people may change in the admin."""

from django.db import migrations


TASKS = [
    (
        "Sweep the margin guards",
        "automations.tasks.sweep_margin_guards",
        30,
        "The second way to every guard's action, beside the stream.",
    ),
    (
        "Sweep take profit and stop loss",
        "automations.tasks.sweep_exits",
        15,
        "The second way to every exit, beside the stream.",
    ),
    (
        "Sweep the entries",
        "automations.tasks.sweep_entries",
        10,
        "The second way to every entry, beside the stream.",
    ),
    (
        "Settle what was left open",
        "automations.tasks.reconcile",
        10,
        "Executions whose answer never came are settled by what the exchange shows.",
    ),
    (
        "Prune old executions",
        "automations.tasks.prune_executions",
        86_400,
        "Nothing younger than 90 days goes, nothing unsettled, and nothing that a budget counts.",
    ),
]


def add_sweeps(apps, schema_editor):
    IntervalSchedule = apps.get_model("django_celery_beat", "IntervalSchedule")
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    for name, task, every_s, description in TASKS:
        every, _ = IntervalSchedule.objects.get_or_create(every=every_s, period="seconds")
        PeriodicTask.objects.get_or_create(
            name=name,
            defaults={
                "task": task,
                "interval": every,
                # A late tick is dropped before the next comes: a pause is not made up for at once.
                "expire_seconds": every_s - 1,
                "description": description,
            },
        )


def remove_sweeps(apps, schema_editor):
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    PeriodicTask.objects.filter(task__in=[task for _, task, _, _ in TASKS]).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("automations", "0001_initial"),
        ("django_celery_beat", "0019_alter_periodictasks_options"),
    ]

    operations = [migrations.RunPython(add_sweeps, remove_sweeps)]

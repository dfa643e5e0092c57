"""Keys that the exchange refused are asked again by themselves, as a row that people may change."""

from django.db import migrations

NAME = "Ask again about refused keys"
TASK = "automations.tasks.ask_again"
EVERY_S = 2

SUSPENDED_BEFORE = """
UPDATE accounts_account SET recheck_at = now() WHERE verified_at IS NULL AND fault <> ''
"""


def add_task(apps, schema_editor):
    IntervalSchedule = apps.get_model("django_celery_beat", "IntervalSchedule")
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    every, _ = IntervalSchedule.objects.get_or_create(every=EVERY_S, period="seconds")
    PeriodicTask.objects.get_or_create(
        name=NAME,
        defaults={
            "task": TASK,
            "interval": every,
            "expire_seconds": EVERY_S,
            "description": "A key in doubt after 2 s and 10 s, one of a suspended account every 5 min.",
        },
    )


def remove_task(apps, schema_editor):
    PeriodicTask = apps.get_model("django_celery_beat", "PeriodicTask")
    PeriodicTask.objects.filter(task=TASK).delete()


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0002_manners_keys_are_asked_again"),
        ("automations", "0013_cross_reduced_positions_continue"),
    ]

    operations = [
        migrations.RunPython(add_task, remove_task),
        migrations.RunSQL(SUSPENDED_BEFORE, migrations.RunSQL.noop),
    ]

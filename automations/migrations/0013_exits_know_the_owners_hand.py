"""Exits that the owner changed by hand, the slippage of entries, and nothing enabled by itself."""

import django.core.validators
import django.db.models.deletion
from decimal import Decimal
from django.db import migrations, models


# A stream process arms nothing where an automation is disarmed; what the note calls is of 0011.
NOTE = """
CREATE TRIGGER note_plan_row AFTER INSERT OR DELETE ON automations_exitdisarmed FOR EACH ROW
    EXECUTE FUNCTION note_plan_change('automation_id', 'automation');
CREATE TRIGGER note_plan_change AFTER UPDATE ON automations_exitdisarmed FOR EACH ROW
    WHEN (ROW(OLD.*) IS DISTINCT FROM ROW(NEW.*))
    EXECUTE FUNCTION note_plan_change('automation_id', 'automation');
"""
FORGET = """
DROP TRIGGER note_plan_row ON automations_exitdisarmed;
DROP TRIGGER note_plan_change ON automations_exitdisarmed;
"""


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0002_exits_entries_have_a_budget'),
        ('automations', '0013_protection'),
    ]

    operations = [
        migrations.CreateModel(
            name='ExitDisarmed',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('position_id', models.CharField(max_length=64)),
                ('since', models.DateTimeField()),
                ('why', models.CharField(max_length=300)),
                ('rearmed_after', models.PositiveBigIntegerField(help_text='The newest execution when it was re-armed; empty: it is disarmed.', null=True)),
            ],
            options={
                'ordering': ['-since'],
            },
        ),
        migrations.AddField(
            model_name='autoentry',
            name='slippage_percent',
            field=models.DecimalField(decimal_places=4, default=Decimal('0.5'), help_text='A market beyond the trigger by more than this is missed, and nothing is opened.', max_digits=7, validators=[django.core.validators.MinValueValidator(Decimal('0.0001'), 'This must be more than 0 %%.'), django.core.validators.MaxValueValidator(Decimal('99.9999'), 'This must be less than 100 %%.')], verbose_name='slippage (%)'),
        ),
        migrations.AlterField(
            model_name='automation',
            name='enabled',
            field=models.BooleanField(default=False, help_text='Look at its preview before you tick this.'),
        ),
        migrations.AddIndex(
            model_name='execution',
            index=models.Index(condition=models.Q(('does__in', ['set_stoploss', 'set_trailing', 'set_takeprofit']), ('state__in', ['confirmed', 'quarantined'])), fields=['account', 'position_id', '-id'], name='execution_that_set_an_exit'),
        ),
        migrations.AddConstraint(
            model_name='autoentry',
            constraint=models.CheckConstraint(condition=models.Q(('slippage_percent__gt', 0), ('slippage_percent__lt', 100)), name='entry_slippage_is_a_share'),
        ),
        migrations.AddField(
            model_name='exitdisarmed',
            name='automation',
            field=models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='disarmed_on', to='automations.automation'),
        ),
        migrations.AddConstraint(
            model_name='exitdisarmed',
            constraint=models.UniqueConstraint(fields=('automation', 'position_id'), name='an_automation_is_disarmed_once_per_position'),
        ),
        migrations.RunSQL(NOTE, FORGET),
    ]

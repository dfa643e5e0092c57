"""Exits that the owner changed by hand, the slippage of entries, and nothing enabled by itself."""

import django.core.validators
import django.db.models.deletion
from decimal import Decimal
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0001_initial'),
        ('automations', '0012_reading_back_may_be_due'),
    ]

    operations = [
        migrations.AlterField(
            model_name='automation',
            name='enabled',
            field=models.BooleanField(default=False, help_text='Look at its preview before you tick this.'),
        ),
    ]

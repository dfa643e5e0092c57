import uuid

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('accounts', '0003_profile'),
    ]

    operations = [
        migrations.AddField(
            model_name='installation',
            name='identity',
            field=models.UUIDField(default=uuid.uuid4, editable=False),
        ),
    ]

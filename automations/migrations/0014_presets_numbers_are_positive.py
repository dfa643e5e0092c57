

from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('automations', '0013_told_what_owners_are_told'),
    ]

    operations = [
        migrations.AddConstraint(
            model_name='guardstep',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('amount_sats__isnull', True), ('amount_sats__gt', 0), _connector='OR'), models.Q(('share_percent__isnull', True), models.Q(('share_percent__gt', 0), ('share_percent__lt', 1000)), _connector='OR'), models.Q(('target_percent__isnull', True), models.Q(('target_percent__gt', 0), ('target_percent__lt', 1000)), _connector='OR'), models.Q(('reduce_percentage__isnull', True), models.Q(('reduce_percentage__gt', 0), ('reduce_percentage__lt', 1000)), _connector='OR'), models.Q(('hysteresis_percent__isnull', True), models.Q(('hysteresis_percent__gt', 0), ('hysteresis_percent__lt', 1000)), _connector='OR'), models.Q(('cooldown_s__isnull', True), ('cooldown_s__gt', 0), _connector='OR')), name='step_numbers_are_positive'),
        ),
        migrations.AddConstraint(
            model_name='marginguard',
            constraint=models.CheckConstraint(condition=models.Q(models.Q(('budget_per_position_percent__isnull', True), models.Q(('budget_per_position_percent__gt', 0), ('budget_per_position_percent__lt', 10000000)), _connector='OR'), models.Q(('budget_per_day_percent__isnull', True), models.Q(('budget_per_day_percent__gt', 0), ('budget_per_day_percent__lt', 10000000)), _connector='OR'), models.Q(('budget_per_position_sats__isnull', True), ('budget_per_position_sats__gt', 0), _connector='OR'), models.Q(('budget_per_day_sats__isnull', True), ('budget_per_day_sats__gt', 0), _connector='OR')), name='guard_budgets_are_positive'),
        ),
    ]

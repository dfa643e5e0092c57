"""The database notes every change of what a stream process arms, whoever makes it."""

from django.db import migrations

FUNCTION = """
CREATE FUNCTION note_plan_change() RETURNS trigger LANGUAGE plpgsql AS $$
-- The arguments: a column of the changed row, and what it names.
DECLARE
    before bigint;
    after bigint;
BEGIN
    IF TG_OP <> 'INSERT' THEN before := (to_jsonb(OLD) ->> TG_ARGV[0])::bigint; END IF;
    IF TG_OP <> 'DELETE' THEN after := (to_jsonb(NEW) ->> TG_ARGV[0])::bigint; END IF;
    INSERT INTO automations_planchange (account_id, transaction)
    SELECT DISTINCT account, txid_current() FROM (
        SELECT CASE TG_ARGV[1]
            WHEN 'account' THEN named
            WHEN 'automation' THEN (SELECT account_id FROM automations_automation WHERE id = named)
            WHEN 'step' THEN (
                SELECT account_id FROM automations_automation JOIN automations_guardstep step
                ON step.guard_id = automations_automation.id WHERE step.id = named
            )
        END AS account FROM unnest(ARRAY[before, after]) AS named
    ) AS found WHERE account IS NOT NULL;
    RETURN NULL;
END
$$;
"""

PLANS = {
    # table: (the column that leads to the account, what it names, the columns that matter; all if none)
    "accounts_account": (
        "id",
        "account",
        ("name", "network", "credentials_sealed", "is_active", "verified_at"),
    ),
    "automations_automation": ("account_id", "account", ("account_id", "enabled", "shadow")),
    "automations_marginguard": ("automation_ptr_id", "automation", ()),
    "automations_takeprofitstoploss": ("automation_ptr_id", "automation", ()),
    "automations_autoentry": ("automation_ptr_id", "automation", ()),
    "automations_guardstep": ("guard_id", "automation", ()),
    "automations_positionthreshold": ("step_id", "step", ()),
    "automations_quarantine": ("automation_id", "automation", ("automation_id", "position_id")),
    "automations_spentstep": ("step_id", "step", ("step_id", "position_id", "shadow")),
}


def triggers_of(table, column, names, matter):
    columns = matter or ("*",)
    old = "ROW(" + ", ".join(f"OLD.{each}" for each in columns) + ")"
    new = "ROW(" + ", ".join(f"NEW.{each}" for each in columns) + ")"
    note = f"EXECUTE FUNCTION note_plan_change('{column}', '{names}')"
    return f"""
    CREATE TRIGGER note_plan_row AFTER INSERT OR DELETE ON {table} FOR EACH ROW {note};
    CREATE TRIGGER note_plan_change AFTER UPDATE ON {table} FOR EACH ROW
        WHEN ({old} IS DISTINCT FROM {new}) {note};
    """


# Of executions only the exits that were truly set matter: every other row is written before an order
# leaves, or while one is on its way, and pays for nothing.
EXECUTIONS = """
CREATE TRIGGER note_plan_row_in AFTER INSERT ON automations_execution FOR EACH ROW
    WHEN (NEW.state IN {set} AND NEW.does IN {exits})
    EXECUTE FUNCTION note_plan_change('account_id', 'account');
CREATE TRIGGER note_plan_row_out AFTER DELETE ON automations_execution FOR EACH ROW
    WHEN (OLD.state IN {set} AND OLD.does IN {exits})
    EXECUTE FUNCTION note_plan_change('account_id', 'account');
CREATE TRIGGER note_plan_change
    AFTER UPDATE OF state, does, position_id, level, distance ON automations_execution FOR EACH ROW
    WHEN ((OLD.state IN {set} OR NEW.state IN {set})
        AND (OLD.does IN {exits} OR NEW.does IN {exits})
        AND ROW(OLD.state, OLD.does, OLD.position_id, OLD.level, OLD.distance)
            IS DISTINCT FROM ROW(NEW.state, NEW.does, NEW.position_id, NEW.level, NEW.distance))
    EXECUTE FUNCTION note_plan_change('account_id', 'account');
""".format(
    exits="('set_stoploss', 'set_trailing', 'set_takeprofit')", set="('confirmed', 'quarantined')"
)

NOTE = FUNCTION + "".join(triggers_of(table, *how) for table, how in PLANS.items()) + EXECUTIONS
FORGET = "DROP FUNCTION note_plan_change() CASCADE;"


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("automations", "0010_stream_processes_share_accounts"),
    ]

    operations = [migrations.RunSQL(NOTE, FORGET)]

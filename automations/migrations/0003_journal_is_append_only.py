"""The database refuses to change a journal entry, and to delete one except while pruning."""

from django.db import migrations

# TRUNCATE is left alone, for tests empty their tables with it; `journal verify` sees what it took.
REFUSE = """
CREATE FUNCTION journal_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('hubdefisats.prunes_journal', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'journal entry %: the journal is append-only, % is refused', OLD.id, TG_OP
        USING ERRCODE = 'restrict_violation', HINT = 'Export it, then: manage.py journal prune';
END
$$;
CREATE TRIGGER journal_is_append_only BEFORE UPDATE OR DELETE ON automations_journalentry
    FOR EACH ROW EXECUTE FUNCTION journal_is_append_only();
"""

ALLOW = """
DROP TRIGGER journal_is_append_only ON automations_journalentry;
DROP FUNCTION journal_is_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("automations", "0002_schedule")]

    operations = [migrations.RunSQL(REFUSE, ALLOW)]

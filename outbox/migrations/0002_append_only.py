"""The log is append-only: only the purge, which says so within its transaction, may delete from it."""

from django.db import migrations

GUARD = """
CREATE FUNCTION outbox_event_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' AND current_setting('outbox.purging', true) = 'on' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the event log is append-only: % of position % refused', TG_OP, OLD.position
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON outbox_event
    FOR EACH ROW EXECUTE FUNCTION outbox_event_is_append_only();
"""

UNGUARD = """
DROP TRIGGER append_only ON outbox_event;
DROP FUNCTION outbox_event_is_append_only();
"""


class Migration(migrations.Migration):
    dependencies = [("outbox", "0001_initial")]
    operations = [migrations.RunSQL(GUARD, UNGUARD)]

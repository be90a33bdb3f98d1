"""The journal: an open row is closed once; nothing else about it ever changes, and it is never deleted."""

from django.db import migrations

GUARD = """
CREATE FUNCTION notifications_journal_is_closed_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
        AND (NEW.id, NEW.message_id, NEW.worker, NEW.started_at)
          = (OLD.id, OLD.message_id, OLD.worker, OLD.started_at)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the journal of mails is closed once and then kept: % of attempt % refused', TG_OP, OLD.id
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER closed_once BEFORE UPDATE OR DELETE ON notifications_messageattempt
    FOR EACH ROW EXECUTE FUNCTION notifications_journal_is_closed_once();
"""

UNGUARD = """
DROP TRIGGER closed_once ON notifications_messageattempt;
DROP FUNCTION notifications_journal_is_closed_once();
"""


class Migration(migrations.Migration):
    dependencies = [("notifications", "0001_initial")]
    operations = [migrations.RunSQL(GUARD, UNGUARD)]

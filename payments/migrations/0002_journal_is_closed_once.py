"""The journal: an open row is closed once; nothing else about it ever changes, and it is never deleted."""

from django.db import migrations

GUARD = """
CREATE FUNCTION payments_journal_is_closed_once() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' AND OLD.finished_at IS NULL AND NEW.finished_at IS NOT NULL
        AND (NEW.id, NEW.payment_id, NEW.refund_id, NEW.phase, NEW.key, NEW.request, NEW.card_no, NEW.worker, NEW.started_at)
          IS NOT DISTINCT FROM (OLD.id, OLD.payment_id, OLD.refund_id, OLD.phase, OLD.key, OLD.request, OLD.card_no, OLD.worker, OLD.started_at)
    THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the journal of payments is closed once and then kept: % of attempt % refused', TG_OP, OLD.id
        USING ERRCODE = 'integrity_constraint_violation';
END $$;
CREATE TRIGGER closed_once BEFORE UPDATE OR DELETE ON payments_paymentattempt
    FOR EACH ROW EXECUTE FUNCTION payments_journal_is_closed_once();
"""

UNGUARD = """
DROP TRIGGER closed_once ON payments_paymentattempt;
DROP FUNCTION payments_journal_is_closed_once();
"""


class Migration(migrations.Migration):
    dependencies = [("payments", "0001_initial")]
    operations = [migrations.RunSQL(GUARD, UNGUARD)]

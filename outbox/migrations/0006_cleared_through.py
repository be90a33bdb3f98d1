"""The relay begins to look where it has cleared everything, whatever dead rows lie before that."""

from django.db import migrations, models

# A transaction has its id before it takes a number of the staging table: who has seen the number knows that the id is
# below the next one. Without the trigger a first INSERT would take the number first.
ID_FIRST = """
CREATE FUNCTION outbox_transaction_id_first() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_current_xact_id();
    RETURN NULL;
END $$;
CREATE TRIGGER transaction_id_first BEFORE INSERT ON outbox_outboxrecord
    FOR EACH STATEMENT EXECUTE FUNCTION outbox_transaction_id_first();
"""

NO_ID = """
DROP TRIGGER transaction_id_first ON outbox_outboxrecord;
DROP FUNCTION outbox_transaction_id_first();
"""


class Migration(migrations.Migration):
    dependencies = [("outbox", "0005_audit_runs")]
    operations = [
        migrations.RunSQL(ID_FIRST, NO_ID),
        migrations.AddField("loghead", "cleared_through", models.BigIntegerField(default=0)),
        migrations.AddField("loghead", "clearing_through", models.BigIntegerField(default=0)),
        migrations.AddField("loghead", "clearing_since", models.BigIntegerField(default=0)),
    ]

"""The relay's look at what is staged, with one plan. A table that was empty when its plan was made would be read from
end to end until the next vacuum, however much is staged by then: the settings are those of the function, so that it is
planned under them whenever that happens.

Records that were moved while an old transaction stands open stay in table and index as dead rows: without the bound,
each look would walk over all of them. It is not used where somebody has set the sequence back.
"""

from django.db import migrations

LOOK = """
CREATE FUNCTION outbox_newest_staged() RETURNS bigint LANGUAGE plpgsql STABLE
    SET enable_seqscan = off SET enable_bitmapscan = off AS $$
BEGIN
    RETURN (
        SELECT max(seq) FROM outbox_outboxrecord WHERE seq > (
            SELECT CASE WHEN clearing_through <= last_value THEN cleared_through ELSE 0 END
            FROM outbox_loghead, outbox_outboxrecord_seq_seq
        )
    );
END $$;
"""


class Migration(migrations.Migration):
    dependencies = [("outbox", "0007_outboxrecord_stream")]
    operations = [migrations.RunSQL(LOOK, "DROP FUNCTION outbox_newest_staged()")]

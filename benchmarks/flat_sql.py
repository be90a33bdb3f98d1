"""Rows in flight on top of a history: orders whose payment and mail wait for a worker, and records that wait for the
relay. Everything that a row does not say itself is that of one which the history has settled."""

ORDERS = """
CREATE TEMP TABLE flying AS
SELECT n, nextval(pg_get_serial_sequence('shop_order', 'id')) AS id, md5('flying' || random() || n) AS word
FROM generate_series(1, %(rows)s) AS n;
INSERT INTO shop_order SELECT made.* FROM
    (SELECT o FROM shop_order o WHERE status = 'shipped' ORDER BY id DESC LIMIT 1) AS like_this, flying,
    jsonb_populate_record(o, jsonb_build_object('id', id, 'status', 'awaiting_payment', 'token', left(word, 22),
        'checkout_token', word::uuid, 'email', left(word, 16) || '@example.org', 'address', 'Am Sandtorkai ' || id,
        'created_at', now(), 'updated_at', now())) AS made
"""

# A hundred have become due in each second until now.
PAYMENTS = """
INSERT INTO payments_payment SELECT made.* FROM
    (SELECT p FROM payments_payment p WHERE status = 'succeeded' ORDER BY id DESC LIMIT 1) AS like_this, flying,
    jsonb_populate_record(p, jsonb_build_object('id', nextval(pg_get_serial_sequence('payments_payment', 'id')),
        'order_id', flying.id, 'public_id', gen_random_uuid(), 'reference', 'O-' || flying.id, 'status', 'unprocessed',
        'due_at', now() - (%(rows)s - n) * interval '10 ms', 'attempts', 0, 'nudges', 0, 'intent_id', '',
        'latest_charge', '', 'settled_at', NULL, 'created_at', now())) AS made
"""

MESSAGES = """
INSERT INTO notifications_message SELECT made.* FROM
    (SELECT m FROM notifications_message m WHERE template = 'order_confirmed' AND status = 'sent'
        ORDER BY id DESC LIMIT 1) AS like_this, flying,
    jsonb_populate_record(m, jsonb_build_object('id', nextval(pg_get_serial_sequence('notifications_message', 'id')),
        'order_id', flying.id, 'public_id', gen_random_uuid(), 'order_number', 'O-' || flying.id,
        'event_id', gen_random_uuid(), 'recipient', left(word, 16) || '@example.org', 'status', 'pending',
        'due_at', now() - (%(rows)s - n) * interval '10 ms', 'attempts', 0, 'provider_id', '',
        'sent_at', NULL, 'created_at', now())) AS made
"""

RECORDS = """
INSERT INTO outbox_outboxrecord (id, aggregatetype, aggregateid, type, version, payload, headers, created_at)
SELECT gen_random_uuid(), aggregatetype, flying.id::text, type, version,
    jsonb_set(payload, '{order_id}', to_jsonb(flying.id)), headers, now()
FROM flying, (SELECT * FROM outbox_event WHERE type = 'OrderPlaced' ORDER BY position DESC LIMIT 1) AS like_this
ORDER BY n;
DROP TABLE flying
"""

IN_FLIGHT = (ORDERS, PAYMENTS, MESSAGES, RECORDS)
# The leases of half of what is due: held by workers that are busy with it.
CLAIMED = """
UPDATE {table} SET status = '{status}', token = gen_random_uuid(), claimed_by = 'bench', attempts = 1,
    due_at = now() + interval '1 h'
WHERE id IN (SELECT id FROM {table} WHERE due_at IS NOT NULL ORDER BY due_at DESC LIMIT {rows})
"""

# What is left is nobody's any more. The transitions forbid to settle in one step what was never tried.
SETTLED = (
    "SET session_replication_role = replica",
    """UPDATE payments_payment SET status = 'canceled', token = NULL, claimed_by = '', due_at = NULL, settled_at = now()
    WHERE settled_at IS NULL""",
    """UPDATE notifications_message SET status = 'failed', token = NULL, claimed_by = '', due_at = NULL
    WHERE due_at IS NOT NULL""",
    "TRUNCATE outbox_outboxrecord",
    "SET session_replication_role = origin",
)

"""The statements of benchmarks/history.py for money, mails and the log; they read what history_sql.py has made."""

PAYMENTS = """
INSERT INTO payments_payment (id, claimed_by, attempts, nudges, blocked_reason, headers, public_id, order_id, reference,
    amount, currency, status, payment_method, card_no, generation, return_url, intent_id, latest_charge, action_url,
    failure_code, created_at, settled_at)
SELECT payment_id, '', 1 + second_card::int, 1, '', headers, payment, id,
    'O-' || lpad(id::text, greatest(6, length(id::text)), '0'), total, %(currency)s,
    CASE WHEN paid THEN 'succeeded' WHEN kind = 'expired' THEN 'canceled' ELSE 'failed' END,
    'pm_' || left(md5('card' || n), 24), 1 + second_card::int, 0, %(address)s || '/orders/' || left(token, 22) || '/',
    intent, CASE WHEN paid THEN 'ch_' || left(md5('charge' || n), 24) ELSE '' END, '',
    CASE kind WHEN 'expired' THEN 'insufficient_funds' WHEN 'failed' THEN 'intent_canceled' ELSE '' END, at,
    at + CASE WHEN kind = 'expired' THEN interval '1 h' WHEN kind = 'failed' THEN interval '10 min'
        ELSE interval '5 min' END
FROM story WHERE payment_id IS NOT NULL ORDER BY n
"""

REFUNDS = """
INSERT INTO payments_refund (id, claimed_by, attempts, nudges, blocked_reason, headers, public_id, payment_id,
    request_token, amount, currency, reason, status, refund_id, failure_code, requested_by, approved_by, created_at,
    settled_at)
SELECT refund_row, '', 1, 1, '', headers, refund, payment_id, 'history:' || n,
    CASE WHEN kind = 'refunded' THEN 100 ELSE total END, %(currency)s, kind, 'succeeded', bank_refund, '',
    CASE WHEN kind = 'refunded' THEN 'operator:olga' ELSE 'system' END, '', at + interval '2 h', at + interval '3 h'
FROM story WHERE refund_row IS NOT NULL ORDER BY n
"""

DISPUTES = """
INSERT INTO payments_dispute (claimed_by, attempts, nudges, blocked_reason, headers, dispute_id, payment_id, status,
    amount, currency, reason, bank_status, refundable, created_at, opened_at, closed_at)
SELECT '', 2, 2, '', headers, dispute, payment_id, 'closed', total, %(currency)s, 'fraudulent', 'won', false,
    at + interval '3 h', at + interval '3 h', at + interval '4 h'
FROM story WHERE kind = 'disputed' ORDER BY n
"""

# The journal: an intent made, each card tried, and what else became of the payment.
ATTEMPTS = """
INSERT INTO payments_paymentattempt (payment_id, refund_id, phase, key, request, card_no, worker, started_at,
    finished_at, outcome, http_status, request_id, replayed, bank_status, code, decline_code, message, duration_ms,
    claim_lost)
SELECT payment_id, CASE WHEN phase = 'refund' THEN refund_row END, phase, key, request, card, 'history:1', at + after,
    at + after + interval '90 ms', outcome, CASE outcome WHEN 'declined' THEN 402 ELSE 200 END,
    'req_' || left(md5(key || phase || s.n), 24), false, bank_status, CASE outcome WHEN 'declined' THEN 'card_declined'
    ELSE '' END, CASE outcome WHEN 'declined' THEN 'insufficient_funds' ELSE '' END, '', 90, false
FROM story AS s CROSS JOIN LATERAL (VALUES
    (true, 'create', 'payment:' || payment || ':create:0', jsonb_build_object('amount', total, 'currency', 'eur',
        'metadata', jsonb_build_object('payment', payment, 'order_id', id)),
        1, interval '1 s', 'answered', 'requires_payment_method'),
    (kind <> 'failed', 'confirm', 'payment:' || payment || ':confirm:1:0', jsonb_build_object('payment_method', 'pm_1'),
        1, interval '2 s', CASE WHEN kind = 'expired' OR second_card THEN 'declined' ELSE 'answered' END,
        CASE WHEN kind = 'expired' OR second_card THEN 'requires_payment_method' ELSE 'succeeded' END),
    (second_card, 'confirm', 'payment:' || payment || ':confirm:2:0', jsonb_build_object('payment_method', 'pm_2'),
        2, interval '5 min', 'answered', 'succeeded'),
    (kind IN ('expired', 'failed'), 'cancel', 'payment:' || payment || ':cancel', jsonb_build_object(), 1,
        interval '10 min', 'answered', 'canceled'),
    (refund_row IS NOT NULL, 'refund', 'refund:' || refund, jsonb_build_object('payment_intent', intent), 1,
        interval '3 h', 'answered', 'succeeded'),
    (kind = 'disputed', 'dispute_read', '', jsonb_build_object(), 1, interval '3 h', 'answered', 'needs_response'),
    (kind = 'disputed', 'dispute_read', '', jsonb_build_object(), 1, interval '4 h', 'answered', 'won')
) AS a(made, phase, key, request, card, after, outcome, bank_status)
WHERE made AND payment_id IS NOT NULL ORDER BY at + after
"""

BANK_EVENTS = """
INSERT INTO payments_bankevent (event_id, type, livemode, created, intent_id, refund_id, dispute_id, payment_ref,
    refund_ref, listed, received_at, status, attempts, applied_at)
SELECT 'evt_' || left(md5(type || s.n), 24), type, false, date_trunc('second', at + after), intent,
    CASE WHEN type LIKE 'refund.%%' THEN bank_refund ELSE '' END,
    CASE WHEN type LIKE 'charge.%%' THEN dispute ELSE '' END,
    CASE WHEN type LIKE 'payment_intent.%%' THEN payment END, CASE WHEN type LIKE 'refund.%%' THEN refund END,
    mod(n, 200) = 100, at + after, 'applied', 0, at + after + interval '40 ms'
FROM story AS s CROSS JOIN LATERAL (VALUES
    (paid, 'payment_intent.succeeded', interval '5 min'),
    (kind = 'expired' OR second_card, 'payment_intent.payment_failed', interval '2 s'),
    (kind IN ('expired', 'failed'), 'payment_intent.canceled', interval '10 min'),
    (refund_row IS NOT NULL, 'refund.created', interval '3 h'),
    (refund_row IS NOT NULL, 'refund.updated', interval '3 h'),
    (kind = 'disputed', 'charge.dispute.created', interval '3 h'),
    (kind = 'disputed', 'charge.dispute.closed', interval '4 h')
) AS e(came, type, after)
WHERE came ORDER BY at + after
"""

# The catalogue of mails (notifications/catalogue.py), said again as the books do. Of a thousand mails three fail.
MAIL = """
CREATE TEMP TABLE mail AS
SELECT nextval(pg_get_serial_sequence('notifications_message', 'id')) AS id, f.order_id, f.event_id, template, once,
    template = 'order_shipped' AS rather_twice, f.at, email, name, headers,
    CASE WHEN mod(f.position, 1000) < 3 THEN 'failed' ELSE 'sent' END AS status,
    CASE WHEN mod(f.position, 100) = 50 THEN 'bounce' ELSE 'delivered' END AS arrived
FROM fact AS f
JOIN (VALUES
    ('OrderAccepted', 'order_confirmed', true), ('OrderShipped', 'order_shipped', true),
    ('InventoryUnavailable', 'order_cancelled', true), ('OrderCancelled', 'order_cancelled', true),
    ('OrderPaymentFailed', 'order_cancelled', true), ('OrderFulfillmentFailed', 'order_cancelled', true),
    ('PaymentDeclined', 'payment_declined', false), ('RefundProcessed', 'order_refunded', false)
) AS due(type, template, once) USING (type)
JOIN story AS s ON s.id = f.order_id ORDER BY f.position
"""

# Text and HTML are a tenth of a real mail's: they would be two thirds of the disk, and no list reads more for it.
MESSAGES = """
INSERT INTO notifications_message (id, claimed_by, attempts, nudges, blocked_reason, headers, public_id, order_id,
    order_number, event_id, template, once, rather_twice, status, recipient, recipient_name, subject, text, html, data,
    provider_id, created_at, sent_at)
SELECT id, '', 1, 0, '', headers, md5('message' || event_id)::uuid, order_id, number, event_id, template, once,
    rather_twice, status, email, name, 'About your order ' || number,
    'Hello ' || name || ', this is ' || template || ' of your order.', '<p>Hello ' || name || ', this is ' || template
    || ' of your order.</p>', '{}', CASE WHEN status = 'sent' THEN left(md5('provider' || id), 22) ELSE '' END, at,
    CASE WHEN status = 'sent' THEN at + interval '200 ms' END
FROM mail, LATERAL (SELECT 'O-' || lpad(order_id::text, greatest(6, length(order_id::text)), '0')) AS told(number)
ORDER BY id
"""

MAIL_ATTEMPTS = """
INSERT INTO notifications_messageattempt (message_id, worker, started_at, finished_at, outcome, http_status,
    provider_id, detail, duration_ms, claim_lost)
SELECT id, 'history:2', at, at + interval '200 ms', CASE status WHEN 'sent' THEN 'accepted' ELSE 'refused' END,
    CASE status WHEN 'sent' THEN 202 ELSE 400 END,
    CASE WHEN status = 'sent' THEN left(md5('provider' || id), 22) ELSE '' END, '', 200, false
FROM mail ORDER BY id
"""

MAIL_EVENTS = """
INSERT INTO notifications_mailevent (message_id, kind, happened_at, provider_id, code, cause, received_at)
SELECT id, kind, date_trunc('second', at + after), left(md5('provider' || id), 22),
    CASE kind WHEN 'bounce' THEN '5.1.1' ELSE '' END, '', at + after
FROM mail CROSS JOIN LATERAL (
    VALUES ('processed', interval '1 s'), (arrived, interval '3 s')
) AS e(kind, after)
WHERE status = 'sent' ORDER BY at + after
"""

EVENTS = """
INSERT INTO outbox_event (position, id, aggregatetype, aggregateid, type, version, payload, headers, created_at)
SELECT position, event_id, 'order', order_id::text, type, 1, payload, headers, fact.at
FROM fact JOIN story ON story.id = order_id ORDER BY position
"""

HEAD = "UPDATE outbox_loghead SET position = (SELECT max(position) FROM fact)"

CURSORS = "UPDATE outbox_subscription SET position = (SELECT position FROM outbox_loghead), moved_at = now()"

# A few events, the newest that the mails could not handle, wait for a person.
PARKED = """
INSERT INTO outbox_parkedevent (id, aggregatetype, aggregateid, type, version, payload, headers, created_at,
    subscription_id, position, status, attempts, error, parked_at)
SELECT id, aggregatetype, aggregateid, type, version, payload, headers, created_at, 'messages', position, 'waiting', 10,
    'KeyError: ''tracking''', now()
FROM outbox_event WHERE type = 'OrderShipped' ORDER BY position DESC LIMIT 25
"""

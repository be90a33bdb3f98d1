"""The statements of benchmarks/history.py, each set-based for a batch of orders.

Two temporary tables carry a batch: `story`, a row for each order with all that is decided about it, and `fact`, a row
for each event of the log with its position. All rows are made from these two. What is random in life follows from the
order's number here, so that the same command makes the same history.
"""

# Of a thousand orders: 10 sold out, 25 never paid, 15 whose payment failed, 5 that the warehouse could not find, 5
# cancelled after the payment, 10 with a part of the money given back, 1 disputed; the others are shipped and done.
STORY = """
CREATE TEMP TABLE story AS
WITH goods AS (
    SELECT array_agg(id ORDER BY id) AS ids, array_agg(price ORDER BY id) AS prices,
           array_agg(name ORDER BY id) AS names,           count(*)::int AS kinds
    FROM shop_product
), way AS (
    SELECT id, price FROM shop_shippingmethod WHERE active ORDER BY position LIMIT 1
), numbered AS (
    SELECT n, mod(n, 1000) AS b FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
), chosen AS (
    SELECT n,
           CASE WHEN b < 10 THEN 'sold_out' WHEN b < 35 THEN 'expired' WHEN b < 50 THEN 'failed'
                WHEN b < 55 THEN 'short' WHEN b < 60 THEN 'withdrawn' WHEN b < 70 THEN 'refunded'
                WHEN b < 71 THEN 'disputed' ELSE 'shipped'
           END AS kind,
           %(begin)s::timestamptz + n * %(pause)s::interval AS at,
           mod(n * 7, kinds)::int + 1 AS good, mod(n * 7 + 1, kinds)::int + 1 AS other,
           1 + (mod(n, 3) = 0)::int AS quantity, mod(n, 2) = 0 AS has_other
    FROM numbered, goods
)
SELECT n, nextval(pg_get_serial_sequence('shop_order', 'id')) AS id,
       CASE WHEN kind <> 'sold_out' THEN nextval(pg_get_serial_sequence('payments_payment', 'id')) END AS payment_id,
       CASE WHEN kind IN ('short', 'withdrawn', 'refunded')
            THEN nextval(pg_get_serial_sequence('payments_refund', 'id')) END AS refund_row,
       kind, at,
       kind IN ('short', 'withdrawn', 'refunded', 'disputed', 'shipped') AS paid,
       kind IN ('refunded', 'disputed', 'shipped') AS gone,
       kind = 'shipped' AND mod(n, 20) = 11 AS second_card,
       kind NOT IN ('sold_out', 'expired') AND mod(n, 20) = 13 AS screened,
       ids[good] AS product_id, names[good] AS product_name, prices[good] AS price, quantity,
       CASE WHEN has_other THEN ids[other] END AS other_id, names[other] AS other_name, prices[other] AS other_price,
       prices[good] * quantity + CASE WHEN has_other THEN prices[other] ELSE 0 END AS subtotal,
       way.id AS way_id, way.price AS way_price,
       prices[good] * quantity + CASE WHEN has_other THEN prices[other] ELSE 0 END + way.price AS total,
       jsonb_build_array(jsonb_build_object('product_id', ids[good], 'quantity', quantity))
           || CASE WHEN has_other THEN jsonb_build_array(jsonb_build_object('product_id', ids[other], 'quantity', 1))
              ELSE '[]' END AS lines,
       md5('token' || n) AS token, md5('payment' || n)::uuid AS payment,
       'pi_' || left(md5('intent' || n), 24) AS intent,
       md5('refund' || n)::uuid AS refund, 're_' || left(md5('refund' || n), 24) AS bank_refund,
       'dp_' || left(md5('dispute' || n), 24) AS dispute,
       -- Two thousand full names, about three orders for each address.
       (ARRAY['Ada','Anna','Bram','Chloé','Dirk','Ella','Emil','Finn','Greta','Hanna','Ida','Jonas','Jörg','Karla','Lars',
              'Lena','Liv','Luca','Maja','Marie','Mats','Mila','Nils','Noor','Olga','Oscar','Paul','Pia','Ronja','Sara',
              'Sofie','Sven','Theo','Tilda','Tom','Ulla','Vera','Willem','Yara','Zoë'])[mod(n, 40) + 1] || ' ' ||
       (ARRAY['Andersen','Bakker','Becker','Berg','Byrne','Claes','Dubois','Eriksson','Fischer','García']
           )[mod(n / 40, 10) + 1]
           || (ARRAY['','-Holm','-Klein','-Lund','-Maas'])[mod(n / 400, 5) + 1] AS name,
       'shopper-' || mod(n * 31, greatest(%(orders)s / 3, 1)) || '@customers.example' AS email,
       -- Nobody has ever ordered from Ireland: the rarest value that a filter offers.
       (ARRAY['DE','DE','DE','DE','DE','DE','AT','FR','NL','SE'])[mod(n / 7, 10) + 1] AS country,
       jsonb_build_object('actor', 'shopper', 'causation_id', '', 'correlation_id', md5('story' || n)::uuid,
           'traceparent', '00-' || md5('trace' || n) || '-' || left(md5('span' || n), 16) || '-01') AS headers
FROM chosen, goods, way ORDER BY n
"""

# Every event of every order, in the order of time.
FACT = """
CREATE TEMP TABLE fact AS
SELECT (SELECT position FROM outbox_loghead) + row_number() OVER (ORDER BY s.at + after, s.n, step) AS position,
       md5(type || s.n || ':' || step)::uuid AS event_id, s.id AS order_id, type, s.at + after AS at,
       jsonb_build_object('order_id', s.id) || payload AS payload
FROM story AS s
CROSS JOIN LATERAL (
    SELECT jsonb_build_object('payment_id', payment, 'amount', total, 'currency', %(currency)s::text) AS charge
) AS c
CROSS JOIN LATERAL (VALUES
    (1, kind <> 'sold_out', interval '0', 'OrderPlaced',
        jsonb_build_object('total', total, 'currency', %(currency)s::text, 'lines', lines)),
    (2, kind <> 'sold_out', interval '0', 'InventoryReserved', jsonb_build_object('lines', lines)),
    (2, kind = 'sold_out', interval '0', 'InventoryUnavailable', jsonb_build_object('lines', lines)),
    (3, screened, interval '0.1 s', 'OrderUnderReview', jsonb_build_object('reasons', jsonb_build_array('screening'))),
    (4, second_card OR kind = 'expired', interval '2 s', 'PaymentDeclined',
        charge || jsonb_build_object('card_no', 1, 'code', 'insufficient_funds')),
    (5, kind = 'failed', interval '10 min', 'PaymentFailed', charge || jsonb_build_object('code', 'intent_canceled')),
    (5, kind = 'expired', interval '1 h', 'PaymentCanceled', charge || jsonb_build_object('code', 'abandoned')),
    (5, paid, interval '5 min', 'PaymentProcessed', charge || jsonb_build_object('intent_id', intent)),
    (6, kind = 'failed', interval '10 min', 'OrderPaymentFailed', jsonb_build_object('reason', 'intent_canceled')),
    (6, kind = 'expired', interval '1 h', 'OrderCancelled',
        jsonb_build_object('cancelled_by', 'system', 'reason', 'hold_expired', 'refund_issued', false)),
    (6, paid, interval '5 min', 'OrderPaid', jsonb_build_object('total', total, 'currency', %(currency)s::text)),
    (7, paid, interval '5 min', 'OrderAccepted', jsonb_build_object()),
    (8, paid, interval '5 min', 'PicklistRequested', jsonb_build_object('lines', lines)),
    (9, kind = 'withdrawn', interval '15 min', 'PicklistWithdrawn',
        jsonb_build_object('reason', 'cancelled_by_shopper')),
    (10, gone, interval '2 h', 'OrderShipped', jsonb_build_object('carrier', 'Harbour Post', 'tracking', 'HP' || s.n)),
    (10, kind = 'short', interval '2 h', 'OrderFulfillmentFailed', jsonb_build_object('reason', 'short')),
    (10, kind = 'withdrawn', interval '2 h', 'OrderCancelled',
        jsonb_build_object('cancelled_by', 'shopper', 'reason', 'cancelled_by_shopper', 'refund_issued', true)),
    (11, refund_row IS NOT NULL, interval '3 h', 'RefundProcessed', charge || jsonb_build_object(
        'amount', CASE WHEN kind = 'refunded' THEN 100 ELSE total END, 'refund_id', refund, 'reason', kind)),
    (12, kind = 'disputed', interval '3 h', 'DisputeOpened',
        charge || jsonb_build_object('dispute_id', dispute, 'reason', 'fraudulent')),
    (13, kind = 'disputed', interval '4 h', 'DisputeClosed',
        charge || jsonb_build_object('dispute_id', dispute, 'outcome', 'won'))
) AS told(step, said, after, type, payload)
WHERE said
"""

ORDERS = """
INSERT INTO shop_order (id, token, status, process, version, checkout_token, digest, currency, subtotal, shipping_price,
    total, shipping_method_id, name, email, address, address_2, postal_code, city, country, created_at, updated_at)
SELECT id, left(token, 22),
    CASE kind WHEN 'sold_out' THEN 'cancelled' WHEN 'expired' THEN 'cancelled' WHEN 'withdrawn' THEN 'cancelled'
         WHEN 'failed' THEN 'payment_failed' WHEN 'short' THEN 'fulfillment_failed' ELSE 'shipped' END,
    CASE WHEN kind = 'sold_out' THEN jsonb_build_object('unavailable', jsonb_build_array(product_id))
         ELSE jsonb_build_object('version', 1, 'paid', paid, 'picking', false, 'disputed', false,
            'cancelled_by', CASE kind WHEN 'expired' THEN 'system' WHEN 'withdrawn' THEN 'shopper' ELSE '' END,
            'reason', CASE kind WHEN 'expired' THEN 'hold_expired' WHEN 'withdrawn' THEN 'cancelled_by_shopper'
                WHEN 'short' THEN 'short' ELSE '' END) END,
    4, md5('checkout' || n)::uuid, md5('digest' || n) || md5('digest' || n), %(currency)s, subtotal, way_price, total,
    way_id, name, email, 'Harbour Street ' || mod(n, 90000), '', lpad(mod(n, 90000)::text, 5, '1'), 'Harbour Town',
    country, at, at + interval '2 h'
FROM story ORDER BY n
"""

LINES = """
INSERT INTO shop_orderline (order_id, product_id, name, unit_price, quantity, hold)
SELECT s.id, line.product_id, line.name, line.price, line.quantity,
    CASE WHEN kind = 'sold_out' THEN 'none' WHEN gone THEN 'consumed' ELSE 'released' END
FROM story AS s CROSS JOIN LATERAL (
    VALUES (product_id, product_name, price, quantity), (other_id, other_name, other_price, 1)
) AS line(product_id, name, price, quantity)
WHERE line.product_id IS NOT NULL ORDER BY s.n
"""

# The goods of each batch came before it, by a truck a product; now and then one comes back, and is broken.
MOVEMENTS = """
WITH gone AS (
    SELECT l.*, s.at + interval '2 h' AS left_at FROM story AS s JOIN shop_orderline AS l ON l.order_id = s.id
    WHERE s.gone
)
INSERT INTO shop_stockmovement (product_id, kind, quantity, order_id, actor, reason, created_at)
SELECT product_id, kind, quantity, order_id, actor, reason, at FROM (
    SELECT product_id, 'receipt' AS kind, sum(quantity) AS quantity, NULL::bigint AS order_id,
           'operator:olga' AS actor, 'delivery' AS reason, (SELECT min(at) FROM story) AS at
    FROM gone GROUP BY product_id
    UNION ALL SELECT product_id, 'shipment', -quantity, order_id, 'system', '', left_at FROM gone
    UNION ALL SELECT product_id, back.kind, back.quantity, NULL, 'operator:olga', 'came back broken',
               s.at + interval '3 h'
    FROM story AS s, (VALUES ('return', 1), ('correction', -1)) AS back(kind, quantity) WHERE s.kind = 'refunded'
) AS moved ORDER BY at
"""

SHIPMENTS = """
INSERT INTO shop_shipment (reference, order_id, kind, carrier, tracking, sequence, reported_by, created_at)
SELECT 'history-' || n, id, CASE WHEN gone THEN 'shipped' ELSE kind END, CASE WHEN gone THEN 'Harbour Post' ELSE '' END,
    CASE WHEN gone THEN 'HP' || n ELSE '' END, n, 'history', at + interval '2 h'
FROM story WHERE paid ORDER BY n
"""

SCREENINGS = """
INSERT INTO shop_screening (status, claimed_by, attempts, nudges, blocked_reason, headers, public_id, order_id, decides,
    outcome, detail, check_id, created_at, settled_at)
SELECT CASE WHEN mod(n, 1000) = 613 THEN 'unanswered' WHEN mod(n, 100) = 13 THEN 'failed' ELSE 'passed' END,
    '', 1, 0, '', headers, md5('screening' || n)::uuid, id, false, 'answered', 'HTTP 200',
    'chk_' || left(md5('check' || n), 24), at, at + interval '2 s'
FROM story WHERE screened ORDER BY n
"""

# About every thousandth order gave somebody to think; one in ten of those is still open.
CONCERNS = """
INSERT INTO shop_concern (order_id, kind, detail, created_at, owner, resolved_at, resolved_by, resolution)
SELECT id, 'DisputeOpened', 'fraudulent', at + interval '3 h', '',
    CASE WHEN mod(n, 10000) <> 70 THEN at + interval '4 h' END,
    CASE WHEN mod(n, 10000) <> 70 THEN 'operator:olga' ELSE '' END,
    CASE WHEN mod(n, 10000) <> 70 THEN 'sent the proof of delivery' ELSE '' END
FROM story WHERE kind = 'disputed' ORDER BY n
"""

DECISIONS = """
INSERT INTO outbox_decision (token, kind, subject, subject_id, aggregateid, actor, reason, before, after, created_at)
SELECT md5('decision' || n || d.kind)::uuid, d.kind, subject, subject_id, id::text, actor, reason, before, becomes,
    at + after
FROM story CROSS JOIN LATERAL (VALUES
    (screened, 'accept', 'shop.order', id::text, 'system:screening', 'screening passed', 'under_review',
        'awaiting_payment', interval '2 s'),
    (kind = 'withdrawn', 'cancel', 'shop.order', id::text, 'shopper', 'on the order page', 'accepted', 'cancelling',
        interval '15 min'),
    (kind = 'refunded', 'refund', 'payments.payment', payment_id::text, 'operator:olga', 'scratched',
        total || ' refundable', '100 unprocessed', interval '3 h')
) AS d(made, kind, subject, subject_id, actor, reason, before, becomes, after)
WHERE made ORDER BY at + after
"""

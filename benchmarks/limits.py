"""What PostgreSQL itself can do: pgbench runs the same work as SQL, with no Python beside it.

The placement is one call of a function that writes what `shop.services.place_order` writes: it reads products and
shipping, writes the order, locks and raises two products' stock, and writes two lines, the payment and two records of
the outbox. Its rows are those of an order that was really placed, with ids, amounts and addresses of its own.
"""

import re
import resource
import subprocess
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from benchmarks.children import Measured
from benchmarks.meters import server_cpu
from benchmarks.server import Server
from shop.local.account import server_account
from shop.local.binaries import programs_folder

CLIENTS = 8
# Records that one DELETE takes away: the relay's batch (outbox.relay.BATCH).
BATCH = 500

_FUNCTION = """
CREATE SCHEMA bench;
CREATE FUNCTION bench.place(first bigint, second bigint) RETURNS bigint LANGUAGE plpgsql AS $function$
DECLARE
    o shop_order := {order}::shop_order;
    p payments_payment := {payment}::payments_payment;
    l shop_orderline := {line}::shop_orderline;
    r outbox_outboxrecord := {placed}::outbox_outboxrecord;
    s outbox_outboxrecord := {reserved}::outbox_outboxrecord;
    story text := gen_random_uuid();
    trace text := replace(gen_random_uuid()::text, '-', '');
    product record;
    lines jsonb;
    locked int;
BEGIN
    o.checkout_token := gen_random_uuid();
    PERFORM FROM shop_order WHERE checkout_token = o.checkout_token;
    SELECT sum(price) INTO o.subtotal FROM shop_product WHERE id IN (first, second) AND active;
    SELECT price INTO o.shipping_price FROM shop_shippingmethod WHERE id = o.shipping_method_id AND active;
    o.id := nextval(pg_get_serial_sequence('shop_order', 'id'));
    o.token := left(trace, 22);
    o.digest := md5(trace) || md5(story);
    o.total := o.subtotal + o.shipping_price;
    o.email := left(trace, 16) || '@example.org';
    o.address := 'Am Sandtorkai ' || right(trace, 16);
    o.created_at := statement_timestamp();
    o.updated_at := statement_timestamp();
    INSERT INTO shop_order VALUES (o.*);

    SELECT count(*) INTO locked FROM (
        SELECT on_hand - reserved AS available FROM shop_stock
        WHERE product_id IN (first, second) ORDER BY product_id FOR NO KEY UPDATE
    ) AS held WHERE available >= 1;
    IF locked <> 2 THEN
        RAISE 'products % and % are short', first, second;
    END IF;
    UPDATE shop_stock SET reserved = reserved + 1 WHERE product_id IN (first, second);

    FOR product IN SELECT id, name, price FROM shop_product WHERE id IN (first, second) LOOP
        l.id := nextval(pg_get_serial_sequence('shop_orderline', 'id'));
        l.order_id := o.id;
        l.product_id := product.id;
        l.name := product.name;
        l.unit_price := product.price;
        INSERT INTO shop_orderline VALUES (l.*);
    END LOOP;

    p.id := nextval(pg_get_serial_sequence('payments_payment', 'id'));
    p.public_id := gen_random_uuid();
    p.order_id := o.id;
    p.reference := 'O-' || lpad(o.id::text, greatest(6, length(o.id::text)), '0');
    p.amount := o.total;
    p.created_at := statement_timestamp();
    p.headers := p.headers || jsonb_build_object('correlation_id', story, 'traceparent',
        '00-' || trace || '-' || left(trace, 16) || '-01');
    INSERT INTO payments_payment VALUES (p.*);

    lines := jsonb_build_array(
        jsonb_build_object('product_id', first, 'quantity', 1),
        jsonb_build_object('product_id', second, 'quantity', 1));
    r.seq := nextval(pg_get_serial_sequence('outbox_outboxrecord', 'seq'));
    r.id := gen_random_uuid();
    r.aggregateid := o.id::text;
    r.payload := r.payload || jsonb_build_object('order_id', o.id, 'total', o.total, 'lines', lines);
    r.headers := p.headers;
    r.created_at := statement_timestamp();
    s.seq := nextval(pg_get_serial_sequence('outbox_outboxrecord', 'seq'));
    s.id := gen_random_uuid();
    s.aggregateid := o.id::text;
    s.payload := s.payload || jsonb_build_object('order_id', o.id, 'lines', lines);
    s.headers := p.headers;
    s.created_at := statement_timestamp();
    INSERT INTO outbox_outboxrecord VALUES (r.*), (s.*);
    RETURN o.id;
END
$function$
"""

_DELETE = f"""
DELETE FROM outbox_outboxrecord
WHERE ctid = ANY (ARRAY(SELECT ctid FROM outbox_outboxrecord ORDER BY seq LIMIT {BATCH}));
"""  # noqa: S608 - a number of our own

# One order that is there twice over: so many records more, in the order in which they would have been staged.
_STAGED = """
INSERT INTO outbox_outboxrecord (id, aggregatetype, aggregateid, type, version, payload, headers, created_at)
SELECT gen_random_uuid(), aggregatetype, n::text, type, version,
       jsonb_set(payload, '{order_id}', to_jsonb(n)), headers, created_at
FROM generate_series(1000, 1000 + %s - 1) AS n, outbox_outboxrecord ORDER BY n, seq
"""


# What the relay does with all that, in one statement.
_LOGGED = """
WITH moved AS (DELETE FROM outbox_outboxrecord RETURNING *),
head AS (UPDATE outbox_loghead SET position = (SELECT count(*) FROM moved))
INSERT INTO outbox_event (position, id, aggregatetype, aggregateid, type, version, payload, headers, created_at)
SELECT row_number() OVER (ORDER BY seq), id, aggregatetype, aggregateid, type, version, payload, headers, created_at
FROM moved
"""


class LimitFailed(Exception):
    """pgbench could not do it; the message has its last words."""


def define_placement(session: "psycopg.Connection[tuple[Any, ...]]") -> None:
    """Make `bench.place` of the first order, which was really placed. Raises LookupError where there is none."""
    rows = {
        "order": "SELECT o::text FROM shop_order o ORDER BY id LIMIT 1",
        "payment": "SELECT p::text FROM payments_payment p ORDER BY id LIMIT 1",
        "line": "SELECT l::text FROM shop_orderline l ORDER BY id LIMIT 1",
        "placed": "SELECT r::text FROM outbox_outboxrecord r WHERE type = 'OrderPlaced' ORDER BY seq LIMIT 1",
        "reserved": "SELECT r::text FROM outbox_outboxrecord r WHERE type = 'InventoryReserved' ORDER BY seq LIMIT 1",
    }
    literals: dict[str, sql.Composable] = {}
    for name, query in rows.items():
        found = session.execute(query.encode()).fetchone()
        if found is None:
            raise LookupError(f"There is no {name} to copy.")
        literals[name] = sql.Literal(found[0])
    session.execute(sql.SQL(_FUNCTION).format(**literals))


def stage(session: "psycopg.Connection[tuple[Any, ...]]", *, records: int, in_log: bool) -> None:
    """Multiply the two records of the one order that was placed to so many; put them into the log, or leave them
    staged. The log is empty before."""
    session.execute(_STAGED, [records // 2 - 1])
    if in_log:
        session.execute(_LOGGED)
    session.execute("VACUUM ANALYZE")


def place_by_function(server: Server, database: str, *, seconds: float) -> Measured:
    """Items are orders."""
    with server.connect(database) as session:
        found = session.execute("SELECT min(id), max(id) FROM shop_product").fetchone() or (0, 0)
    least, most = found
    # Two different ones.
    script = (
        f"\\set first random({least}, {most})\n"
        f"\\set second {least} + (:first - {least} + random(1, {most - least})) % {most - least + 1}\n"
        "SELECT bench.place(:first, :second);\n"
    )
    transactions = ["-T", str(max(1, round(seconds))), "-c", str(CLIENTS), "-j", "2"]
    return _pgbench(server, database, script, transactions, items=1)


def delete_staged(server: Server, database: str) -> Measured:
    """Items are records."""
    with server.connect(database) as session:
        found = session.execute("SELECT count(*) FROM outbox_outboxrecord").fetchone() or (0,)
    batches = -(-found[0] // BATCH)
    done = _pgbench(server, database, _DELETE, ["-t", str(batches), "-c", "1"], items=BATCH)
    with server.connect(database) as session:
        left = session.execute("SELECT count(*) FROM outbox_outboxrecord").fetchone() or (0,)
    return Measured(
        items=found[0] - left[0],
        seconds=done.seconds,
        client_cpu=done.client_cpu,
        server_cpu=done.server_cpu,
        finished=left[0] == 0,
    )


def _pgbench(server: Server, database: str, script: str, options: list[str], *, items: int) -> Measured:
    """Raises LimitFailed, also where a single transaction has failed."""
    file = server.folder / "pgbench.sql"
    file.write_text(script)
    program = programs_folder(account=server_account()) / "pgbench"
    main_process = server.main_process()
    before, used = server_cpu(main_process), _ended_children()
    done = subprocess.run(  # noqa: S603 - our own program
        [program, "-n", "-M", "prepared", "-f", file, *options, server.url(database)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path("/"),
    )
    after = server_cpu(main_process)
    rate = re.search(r"^tps = ([\d.]+)", done.stdout, re.MULTILINE)
    processed = re.search(r"actually processed: (\d+)", done.stdout)
    failed = re.search(r"failed transactions: (\d+)", done.stdout)
    if done.returncode or not rate or not processed or (failed and int(failed[1])):
        raise LimitFailed(f"pgbench did not do its work:\n{done.stdout[-500:]}{done.stderr[-1500:]}")
    return Measured(
        items=int(processed[1]) * items,
        seconds=int(processed[1]) / float(rate[1]),  # pgbench leaves out the time of connecting
        client_cpu=_ended_children() - used,
        server_cpu=None if before is None or after is None else after - before,
    )


def _ended_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

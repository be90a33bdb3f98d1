"""Prepared statements, past the ORM, for work that is done so often that building and sending SQL is what it costs.

Rows that are written travel as JSON; columns and defaults are the models' own, so that none is forgotten. Columns that
only the database knows (the id of a row that the same statement writes) are given as SQL.
"""

import functools
import select
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from django.db import DEFAULT_DB_ALIAS, connection, connections, models
from django.db.models.expressions import Expression
from django.db.models.sql import Query

from outbox import wire

Row = dict[str, Any]
ModelT = TypeVar("ModelT", bound=models.Model)


@functools.cache
def _defaults(model: type[models.Model]) -> dict[str, Any]:
    """By column, but for those that the database fills in: its numbers and its clock."""
    fields = (field for field in model._meta.concrete_fields if not isinstance(field, models.AutoField))
    return {field.attname: field.get_default() for field in fields if not field.has_db_default()}


@functools.cache
def _made(model: type[models.Model]) -> dict[str, Callable[[], Any]]:
    """Those of them that are made anew for each row."""
    fields = (field for field in model._meta.concrete_fields if field.attname in _defaults(model))
    return {field.attname: field.default for field in fields if field.has_default() and callable(field.default)}


def row(model: type[models.Model], **values: Any) -> Row:
    """A row as which `model(**values)` would be saved, at a fraction of the cost. Raises TypeError for no column."""
    defaults = _defaults(model)
    if not defaults.keys() >= values.keys():
        raise TypeError(f"{model.__name__} has no column {', '.join(values.keys() - defaults.keys())}.")
    made = {column: default() for column, default in _made(model).items() if column not in values}
    return {**defaults, **made, **values}


def row_of(unsaved: models.Model) -> Row:
    """The row as which it would be saved."""
    return {column: getattr(unsaved, column) for column in _defaults(type(unsaved))}


def as_json(rows: Iterable[Row]) -> str:
    """For the parameter that `given` names."""
    return msgspec.json.encode(list(rows)).decode()


def numbers(values: Iterable[int]) -> str:
    """For a parameter that is an array of numbers."""
    return f"{{{','.join(map(str, values))}}}"


def texts(values: Iterable[str]) -> str:
    """For a parameter that is an array of texts (postgresql.org/docs/current/arrays.html#ARRAYS-IO)."""
    escaped = [value.replace("\\", "\\\\").replace('"', '\\"') for value in values]
    quoted = '","'.join(escaped)
    return f'{{"{quoted}"}}' if escaped else "{}"


def as_json_object(row: Row) -> str:
    return msgspec.json.encode(row).decode()


def given(model: type[models.Model], parameter: str) -> str:
    """SQL for FROM: the rows of that parameter as `given`, with their `ordinality`."""
    table = model._meta.db_table
    return f"json_populate_recordset(NULL::{table}, %({parameter})s::json) WITH ORDINALITY AS given"


def insertion(model: type[models.Model], source: str, **computed: str) -> str:
    """SQL that inserts rows called `given` from `source`; `computed` are columns with an expression of their own."""
    columns = _defaults(model)
    values = ", ".join(computed.get(column, f"given.{column}") for column in columns)
    return f"INSERT INTO {model._meta.db_table} ({', '.join(columns)}) SELECT {values} FROM {source}"  # noqa: S608


def change(model: type[models.Model], assignments: Mapping[str, str], columns: Iterable[str], **more: str) -> str:
    """SQL that assigns to the `stored` rows of what `changes` are `given`; a further condition may follow with AND.
    Given are their `id`, these columns, and `more` of which the model knows nothing, by their types.

    The ids are given once more as an array: of JSON the planner expects so many rows that it would rather read the
    whole table (docs/decisions/0021-plans-follow-the-tables.md).
    """
    types = {column: model._meta.get_field(column).db_type(connection) for column in ("id", *columns)} | more
    given = ", ".join(f"{column} {type_}" for column, type_ in types.items())
    assigned = ", ".join(f"{column} = {value}" for column, value in assignments.items())
    return f"""UPDATE {model._meta.db_table} AS stored SET {assigned}
    FROM json_to_recordset(%(changes)s::json) AS given ({given})
    WHERE stored.id = ANY (%(changed)s::bigint[]) AND stored.id = given.id"""  # noqa: S608 - names of our own


def changes(rows: Iterable[Row]) -> dict[str, str]:
    """The parameters that `change` takes."""
    rows = list(rows)
    return {"changes": as_json(rows), "changed": numbers(row["id"] for row in rows)}


def columns(model: type[models.Model], alias: str) -> str:
    """SQL that selects what `instances` reads."""
    return ", ".join(f"{alias}.{field.column}" for field in model._meta.concrete_fields)


def expression(model: type[models.Model], of: Expression) -> str:
    """Its SQL for the model's columns, which have no alias, as an index on it has it."""
    compiler = Query(model, alias_cols=False).get_compiler(connection=connection)
    sql, literals = compiler.compile(of.resolve_expression(compiler.query))
    quote = connection.schema_editor().quote_value
    return str(sql % tuple(quote(literal) for literal in literals))


def selection(model: type[models.Model]) -> str:
    """SQL that reads the model's rows; a condition may follow."""
    table = model._meta.db_table
    return f"SELECT {columns(model, table)} FROM {table}"  # noqa: S608


def instances(model: type[ModelT], rows: Iterable[tuple[Any, ...]]) -> list[ModelT]:
    """Rows that begin with the model's `columns`, as the ORM would have read them."""
    names = [field.attname for field in model._meta.concrete_fields]
    return [model.from_db(connection.alias, names, row[: len(names)]) for row in rows]


def read(model: type[ModelT], statement: bytes, parameters: wire.Parameters) -> list[ModelT]:
    """The instances of a statement that begins with the model's `selection`."""
    return instances(model, run(statement, parameters))


def run(statement: bytes, parameters: wire.Parameters) -> list[tuple[Any, ...]]:
    """The rows that the statement returns; it is prepared once for each connection. Parameters are text, which the
    statement casts to what it needs.

    Raises what Django's own cursors raise.
    """
    ours = connections[DEFAULT_DB_ALIAS]
    _give_up_if_lost(ours)
    ours.ensure_connection()
    with ours.wrap_database_errors:
        answer = wire.ask(ours.connection, statement, parameters)
        return wire.rows(ours.connection, answer) if answer.nfields else []


def plan_once() -> None:
    """For this process's next connections: one plan for all values. PostgreSQL would plan a statement's first five runs
    on each of them anew. Only for a process whose statements find rows by keys, whatever these are, as pages do."""
    database = connections.settings[DEFAULT_DB_ALIAS]
    options = f"{database['OPTIONS'].get('options', '')} -c plan_cache_mode=force_generic_plan"
    database["OPTIONS"] = {**database["OPTIONS"], "options": options}


def plan_anew() -> None:
    """Have this connection's statements planned for the tables as they are now, each at its next run.

    PostgreSQL keeps a plan until the tables' statistics change, which it looks after once a minute: one made for a
    table of hardly any rows reads it from end to end, however much it has been filled since.
    """
    with connection.cursor() as cursor:
        cursor.execute("DISCARD PLANS")


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """An UPDATE that another statement makes as a part of itself, where it has a row, or that runs alone. `{source}`
    stands in it where its FROM would, and its parameters have names of their own; `told` hears whether it found what
    it was to change."""

    sql: str
    parameters: Mapping[str, str]
    told: Callable[[bool], None]

    def beside(self, source: str) -> str:
        """Its SQL, for where `source` has a row."""
        return self.sql.format(source=f"FROM {source}")

    def run(self) -> None:
        """Alone."""
        self.told(bool(run(self.sql.format(source="").encode(), self.parameters)))


def _give_up_if_lost(ours: Any) -> None:
    """Once for each request, as Django's cursors do, so that a server that was started anew costs none. They ask it a
    question; here only a connection is asked on which something came in, as the farewell of a server does. One that
    has vanished without a word is silent either way, until the socket's time is over."""
    if ours.connection is None or not ours.health_check_enabled or ours.health_check_done:
        return
    if ours.connection.closed or _has_news(ours.connection.fileno()):
        ours.close_if_health_check_failed()
    else:
        ours.health_check_done = True


def _has_news(socket: int) -> bool:
    look = select.poll()
    look.register(socket, select.POLLIN)  # errors and the end are told unasked
    return bool(look.poll(0))

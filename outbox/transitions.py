"""Declared status graphs, and a trigger that refuses every other transition.

A model says in TRANSITIONS where each status may lead. The same graph is written into its table by a migration
(`DeclareTransitions`), so that no code path, console or hand-written UPDATE can take a row outside it; a test
compares the two.
"""

from collections.abc import Mapping
from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

Graph = Mapping[str, frozenset[str]]

_FUNCTION = """
CREATE OR REPLACE FUNCTION outbox_refuse_undeclared_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (OLD.status || '>' || NEW.status) = ANY (TG_ARGV) THEN
        RAISE EXCEPTION '% %: no transition leads from % to %', TG_TABLE_NAME, OLD.id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$
"""


def edges(graph: Graph) -> list[str]:
    """The graph as the trigger's arguments: `before>after`, sorted."""
    return sorted(f"{before}>{after}" for before, afters in graph.items() for after in afters)


class DeclareTransitions(Operation):
    """Give the table of a model its trigger, replacing an older one."""

    reversible = True

    def __init__(self, model_name: str, graph: Mapping[str, list[str]]) -> None:
        self.model_name = model_name
        self.graph = graph

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """The trigger is no part of a model's state."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        table = self._table(app_label, to_state)
        arguments = ", ".join(f"'{edge}'" for edge in edges({k: frozenset(v) for k, v in self.graph.items()}))
        schema_editor.execute(_FUNCTION, params=None)
        self._drop(schema_editor, table)
        schema_editor.execute(
            f"CREATE TRIGGER declared_transitions BEFORE UPDATE OF status ON {table} FOR EACH ROW"
            f" WHEN (OLD.status IS DISTINCT FROM NEW.status)"
            f" EXECUTE FUNCTION outbox_refuse_undeclared_transition({arguments})"
        )

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: ProjectState, to_state: ProjectState
    ) -> None:
        self._drop(schema_editor, self._table(app_label, from_state))

    def describe(self) -> str:
        return f"Declare the transitions of {self.model_name}"

    @staticmethod
    def _drop(schema_editor: BaseDatabaseSchemaEditor, table: str) -> None:
        schema_editor.execute(f"DROP TRIGGER IF EXISTS declared_transitions ON {table}")

    def _table(self, app_label: str, state: ProjectState) -> str:
        table: Any = state.apps.get_model(app_label, self.model_name)._meta.db_table
        return str(table)

"""Mails' templates, taken apart once and filled many times.

They are written in Django's language, of which a mail needs text, values, `if` and `for`; what they extend and include
is always the same. So each becomes one list of texts with gaps. Django's own rendering would look all of that up again
for every mail; what a filter, a condition or an unusual value means is still asked of Django.
"""

import functools
import html
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.template import Engine, TemplateSyntaxError, VariableDoesNotExist
from django.template.base import FilterExpression, Template, TextNode, Variable, VariableNode
from django.template.defaulttags import ForNode, IfNode
from django.template.loader_tags import BlockNode, ExtendsNode, IncludeNode

Blocks = Mapping[str, BlockNode]


class _Scope(dict[str, Any]):
    """The values by name, with all that Django's expressions want to know of a context."""

    use_tz = None
    use_l10n = None

    def __init__(self, values: Mapping[str, Any], template: Template, *, autoescape: bool) -> None:
        super().__init__(values)
        self.template = template
        self.autoescape = autoescape

    def within(self) -> "_Scope":
        """For what only a part of the template may see."""
        return _Scope(self, self.template, autoescape=self.autoescape)


@dataclass(slots=True)
class _Turns:
    """What a template calls `forloop`."""

    parentloop: Any
    length: int
    counter0: int = 0

    counter = property(lambda self: self.counter0 + 1)
    revcounter = property(lambda self: self.length - self.counter0)
    revcounter0 = property(lambda self: self.length - self.counter0 - 1)
    first = property(lambda self: self.counter0 == 0)
    last = property(lambda self: self.counter0 == self.length - 1)


Piece = Callable[[_Scope], str]


def fill(name: str, values: Mapping[str, Any], *, autoescape: bool) -> str:
    """What Django would render of this template. Raises TemplateDoesNotExist, or TemplateSyntaxError for a tag that no
    mail has needed so far."""
    template, pieces = _taken_apart(Engine.get_default(), name, autoescape)
    return pieces(_Scope(values, template, autoescape=autoescape))


@functools.cache
def _taken_apart(engine: Engine, name: str, autoescape: bool) -> tuple[Template, Piece]:
    template = engine.get_template(name)
    return template, _TakingApart(engine, autoescape=autoescape).all_of(template.nodelist, {})


class _TakingApart:
    def __init__(self, engine: Engine, *, autoescape: bool) -> None:
        self._engine = engine
        self._escape = html.escape if autoescape else str

    def all_of(self, nodes: Iterable[Any], blocks: Blocks) -> Piece:
        """The text of all nodes, one after the other; `blocks` are those of the templates that extend this one."""
        texts: list[str] = [""]
        gaps: list[tuple[int, Piece]] = []
        for piece in self._pieces(nodes, blocks):
            if isinstance(piece, str):
                texts[-1] += piece
            else:
                gaps.append((len(texts), piece))
                texts += ["", ""]

        def filled(scope: _Scope) -> str:
            parts = texts.copy()
            for place, piece in gaps:
                parts[place] = piece(scope)
            return "".join(parts)

        return filled

    def _pieces(self, nodes: Iterable[Any], blocks: Blocks) -> Iterator[str | Piece]:
        for node in nodes:
            match node:
                case TextNode():
                    yield node.s
                case VariableNode():
                    yield self._value(node)
                case IfNode():
                    yield self._choice(node, blocks)
                case ForNode(is_reversed=False, loopvars=[str()]):
                    yield self._loop(node, blocks)
                case BlockNode():
                    yield from self._pieces(blocks.get(node.name, node).nodelist, blocks)
                case ExtendsNode():
                    yield from self._pieces(self._named(node.parent_name), {**node.blocks, **blocks})
                case IncludeNode(isolated_context=False) if not node.extra_context:
                    yield from self._pieces(self._named(node.template), {})
                case _:
                    raise TemplateSyntaxError(f"Mails know no {node!r}: teach it to {__name__}.")

    def _named(self, name: Any) -> Iterable[Any]:
        if name.is_var or name.filters:
            raise TemplateSyntaxError(f"Which template {name.token} is depends on the mail.")
        return self._engine.get_template(str(name.var)).nodelist

    def _value(self, node: VariableNode) -> Piece:
        """Nearly all are text or a number under a name, and need nothing of Django but escaping."""
        names, escape = _plain_names(node.filter_expression), self._escape
        if names[:1] == ("block",):
            raise TemplateSyntaxError("A mail's block takes the place of its parent's: it does not repeat it.")

        def value(scope: _Scope) -> str:
            found: Any = scope
            try:
                for name in names:
                    found = found[name]
            except (KeyError, IndexError, TypeError):
                found = None
            kind = type(found)
            if kind is str:
                return escape(found)
            return str(found) if kind is int else node.render(scope)  # type: ignore[arg-type]  # what it needs of it

        return value

    def _choice(self, node: IfNode, blocks: Blocks) -> Piece:
        branches = [(condition, self.all_of(nodes, blocks)) for condition, nodes in node.conditions_nodelists]

        def choice(scope: _Scope) -> str:
            for condition, text in branches:
                if condition is None or _holds(condition, scope):
                    return text(scope)
            return ""

        return choice

    def _loop(self, node: Any, blocks: Blocks) -> Piece:
        name, sequence = node.loopvars[0], node.sequence
        body, otherwise = self.all_of(node.nodelist_loop, blocks), self.all_of(node.nodelist_empty, blocks)

        def loop(scope: _Scope) -> str:
            items = list(sequence.resolve(scope, ignore_failures=True) or ())
            if not items:
                return otherwise(scope)
            inner, texts = scope.within(), []
            inner["forloop"] = turns = _Turns(scope.get("forloop", {}), len(items))
            for turns.counter0, inner[name] in enumerate(items):
                texts.append(body(inner))
            return "".join(texts)

        return loop


def _plain_names(expression: FilterExpression) -> tuple[str, ...]:
    """The names that lead to the value; none where there is more to it than that."""
    variable = expression.var
    plain = isinstance(variable, Variable) and not expression.filters and not variable.translate
    return tuple(variable.lookups or ()) if plain else ()


def _holds(condition: Any, scope: _Scope) -> bool:
    try:
        return bool(condition.eval(scope))
    except VariableDoesNotExist:
        return False

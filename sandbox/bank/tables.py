"""The bank's objects, by kind: kept as the bytes that would be answered, so no reader can alter them."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from sandbox.jsons import Json, dumps


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a list, newest first."""

    data: list[Json]
    has_more: bool


class Table:
    """Objects of one kind in the order of their creation, with indexes on fields that never change."""

    def __init__(self, *indexed: str) -> None:
        self._rows: list[bytes] = []
        self._created: list[int] = []
        self._position: dict[str, int] = {}
        self._indexes: dict[str, defaultdict[str, list[int]]] = {name: defaultdict(list) for name in indexed}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, object_id: object) -> bool:
        return object_id in self._position

    def __iter__(self) -> Iterator[Json]:
        """Yield a copy of every object, oldest first."""
        return map(self._at, range(len(self._rows)))

    def put(self, value: Json) -> None:
        """Insert the object, or replace the one with its id."""
        position = self._position.get(value["id"])
        if position is not None:
            self._rows[position] = dumps(value)
            return
        position = self._position[value["id"]] = len(self._rows)
        self._rows.append(dumps(value))
        self._created.append(value["created"])
        for name, index in self._indexes.items():
            if value[name] is not None:
                index[value[name]].append(position)

    def get(self, object_id: str) -> Json | None:
        """Return a copy of the object, the caller's own."""
        position = self._position.get(object_id)
        return None if position is None else self._at(position)

    def _at(self, position: int) -> Json:
        value: Json = json.loads(self._rows[position])
        return value

    def where(self, name: str, value: str) -> list[Json]:
        """Return the objects whose indexed field has this value, oldest first."""
        return [self._at(position) for position in self._indexes[name].get(value, [])]

    def page(
        self,
        *,
        limit: int,
        starting_after: str | None = None,
        ending_before: str | None = None,
        created: tuple[int | None, int | None] = (None, None),
        equal: Iterable[tuple[str, str]] = (),
        keep: Callable[[Json], bool] | None = None,
    ) -> Page:
        """Return one page, newest first: `created` is a half-open range of seconds, `equal` needs indexes.

        `starting_after` gives the next older page, `ending_before` the next newer one.
        """
        low = 0 if created[0] is None else bisect_left(self._created, created[0])
        high = len(self._rows) if created[1] is None else bisect_left(self._created, created[1])
        if starting_after is not None:
            high = min(high, self._position[starting_after])
        if ending_before is not None:
            low = max(low, self._position[ending_before] + 1)
        positions: Sequence[int] = range(low, high)
        for name, value in equal:
            found = self._indexes[name].get(value, [])
            within = found[bisect_left(found, low) : bisect_left(found, high)]
            positions = [position for position in within if position in positions]
        from_the_new_end = ending_before is None
        data: list[Json] = []
        has_more = False
        for position in reversed(positions) if from_the_new_end else positions:
            row = self._at(position)
            if keep is not None and not keep(row):
                continue
            if len(data) == limit:
                has_more = True
                break
            data.append(row)
        return Page(data=data if from_the_new_end else data[::-1], has_more=has_more)

"""Parameters as the Stripe SDKs send them: forms with brackets, every value a text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.bank.errors import ApiError, invalid_request

_KEY = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)\Z")
METADATA_LIMITS = (50, 40, 500)
"""Stripe's: at most 50 keys, of 40 characters, with values of 500."""


def parse_form(pairs: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Turn `a[b]=1` and `a[]=1` into nested dicts; a list becomes a dict keyed by its indexes."""
    values: dict[str, Any] = {}
    for key, value in pairs:
        match = _KEY.match(key)
        if match is None:
            raise invalid_request(f"Invalid parameter name: {key}", param=key)
        path = [match[1], *re.findall(r"\[([^\[\]]*)\]", match[2])]
        node = values
        for part in path[:-1]:
            child = node.setdefault(part or str(len(node)), {})
            if not isinstance(child, dict):
                raise invalid_request("Invalid hash", param=key)
            node = child
        node[path[-1] or str(len(node))] = value
    return values


class Params:
    """Typed reading of one request's parameters. What nobody has read is unknown: `finish` refuses it."""

    def __init__(self, values: Mapping[str, Any], *, prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix
        self._read: set[str] = set()
        self._groups: list[Params] = []

    def name(self, key: str) -> str:
        return f"{self._prefix}[{key}]" if self._prefix else key

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def peek(self, key: str) -> Any:
        """Return what was sent, without counting it as read."""
        return self._values.get(key)

    def _take(self, key: str) -> Any:
        self._read.add(key)
        return self._values.get(key)

    def text(self, key: str, *, max_length: int = 5000) -> str | None:
        """Return the text; None when it is absent or empty (an empty text unsets, in Stripe's API)."""
        value = self._take(key)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise invalid_request("Invalid string: expected a text", param=self.name(key))
        if len(value) > max_length:
            raise invalid_request(f"Invalid string: must be at most {max_length} characters", param=self.name(key))
        return value

    def required(self, key: str) -> str:
        value = self.text(key)
        if value is not None:
            return value
        if key in self:
            raise invalid_request(
                f"You passed an empty string for '{self.name(key)}'. We assume empty values are an attempt to "
                f"unset a parameter; however '{self.name(key)}' cannot be unset. You should remove "
                f"'{self.name(key)}' from your request or supply a non-empty value.",
                param=self.name(key),
                code="parameter_invalid_empty",
            )
        raise self.missing(key)

    def missing(self, key: str) -> ApiError:
        return invalid_request(
            f"Missing required param: {self.name(key)}.", param=self.name(key), code="parameter_missing"
        )

    def integer(self, key: str, *, minimum: int | None = None) -> int | None:
        value = self.text(key)
        if value is None:
            return None
        if not re.fullmatch(r"-?\d{1,18}", value):
            raise self._not_an_integer(key, f"Invalid integer: {value}")
        if minimum is not None and int(value) < minimum:
            raise self._not_an_integer(key, f"This value must be greater than or equal to {minimum}.")
        return int(value)

    def _not_an_integer(self, key: str, message: str) -> ApiError:
        return invalid_request(message, param=self.name(key), code="parameter_invalid_integer")

    def boolean(self, key: str) -> bool | None:
        value = self.text(key)
        if value not in (None, "true", "false"):
            raise invalid_request(f"Invalid boolean: {value}", param=self.name(key))
        return None if value is None else value == "true"

    def choice(self, key: str, choices: Iterable[str]) -> str | None:
        value = self.text(key)
        allowed = list(choices)
        if value is not None and value not in allowed:
            raise invalid_request(
                f"Invalid {self.name(key)}: must be one of {', '.join(allowed)}", param=self.name(key)
            )
        return value

    def words(self, key: str) -> list[str]:
        value = self._take(key)
        if value is None or value == "":
            return []
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise invalid_request("Invalid array", param=self.name(key))
        return list(value.values())

    def group(self, key: str) -> Params:
        """Return the parameters in brackets under `key`; empty when there are none."""
        value = self._take(key)
        if value is not None and value != "" and not isinstance(value, dict):
            raise invalid_request("Invalid object", param=self.name(key))
        group = Params(value or {}, prefix=self.name(key))
        self._groups.append(group)
        return group

    def tree(self, key: str) -> Any:
        """Return whatever was sent under `key`, unread: for parameters that are only kept."""
        return self._take(key) or None

    def metadata(self) -> dict[str, str]:
        """Return the metadata sent; an empty value means that the key is to be removed."""
        keys, key_length, value_length = METADATA_LIMITS
        sent = self._take("metadata") or {}
        if not isinstance(sent, dict) or len(sent) > keys:
            raise invalid_request(f"Metadata can have up to {keys} keys", param="metadata")
        for key, value in sent.items():
            if not isinstance(value, str) or len(key) > key_length or len(value) > value_length:
                raise invalid_request(
                    f"Metadata keys can have up to {key_length} characters, values up to {value_length}",
                    param=f"metadata[{key}]",
                )
        return sent

    def finish(self) -> None:
        """Refuse parameters that nobody has read."""
        unknown = [key for key in self._values if key not in self._read]
        if unknown:
            name = self.name(unknown[0])
            raise invalid_request(f"Received unknown parameter: {name}", param=name, code="parameter_unknown")
        for group in self._groups:
            group.finish()


def merged_metadata(old: Mapping[str, str], sent: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in {**old, **sent}.items() if value != ""}

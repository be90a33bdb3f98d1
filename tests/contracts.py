"""The providers' own descriptions of their APIs, to hold requests and answers against.

They are no part of the repository. Where they are not at hand a test that needs them skips, or fails when
REQUIRE_CONTRACTS=1 (as in CI).
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

Json = dict[str, Any]
FOLDER = Path(__file__).parents[1].parent / "shared" / "contracts"
LATER_PARAMETERS = frozenset({"payment_method_options[card][request_three_d_secure]"})
"""Accepted by Stripe, but newer than its description at hand."""


@cache
def _load(name: str) -> Json:
    path = FOLDER / name
    if not path.exists():
        reason = f"the provider's description {name} is not at hand"
        if os.environ.get("REQUIRE_CONTRACTS") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    contents: Json = json.loads(path.read_text(encoding="utf-8"))
    return contents


def _as_json_schema(node: Any) -> Any:
    """Turn OpenAPI 3.0's `nullable` into JSON Schema."""
    if isinstance(node, list):
        return [_as_json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {key: _as_json_schema(value) for key, value in node.items() if key != "nullable"}
    if node.get("nullable") is not True:
        return schema
    return {"anyOf": [schema, {"type": "null"}]}


def _errors(schema: Json, value: Any, *, root: Json) -> list[str]:
    registry: Registry[Any] = Registry().with_resource("urn:root", DRAFT202012.create_resource(root))
    validator = Draft202012Validator({"$ref": "urn:root#/checked"} if "checked" in root else schema, registry=registry)
    return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(value)]


class StripeContract:
    """Stripe's OpenAPI description (as of 2023-08-16) and its sample objects (current field names)."""

    def __init__(self) -> None:
        self._spec = _load("stripe-openapi-part.json")
        self._samples: Json = _load("stripe-fixtures.json")["resources"]
        self._components = _as_json_schema(self._spec["components"])

    def request_errors(self, method: str, path: str, params: Mapping[str, str]) -> list[str]:
        """Return what Stripe would not understand in a form's parameters, as sent: `{"metadata[a]": "1"}`."""
        operation = self._operation(method, path)
        sent = {name: value for name, value in params.items() if re.sub(r"\d+", "", name) not in LATER_PARAMETERS}
        if method.upper() == "GET":
            known = {parameter["name"] for parameter in operation["parameters"]}
            return [f"{name} is no parameter" for name in sent if name.partition("[")[0] not in known]
        schema = operation["requestBody"]["content"]["application/x-www-form-urlencoded"]["schema"]
        return self._check(schema, _typed(_nested(sent), schema))

    def answer_errors(self, method: str, path: str, status: int, body: Any) -> list[str]:
        """Return where an answer's body differs from Stripe's description of it."""
        answers = self._operation(method, path)["responses"]
        answer = answers.get(str(status)) or answers["default"]
        return self._check(answer["content"]["application/json"]["schema"], body)

    def object_errors(self, value: Json) -> list[str]:
        """Return where an object (of an event, for example) differs from its description."""
        return self._check({"$ref": f"#/components/schemas/{value['object']}"}, value)

    def field_errors(self, value: Json) -> list[str]:
        """Return the fields that Stripe does not have, and those that its sample has and `value` lacks."""
        kind = value["object"]
        sample = set(self._samples[kind])
        described = set(self._spec["components"]["schemas"].get(kind, {}).get("properties", {}))
        unknown = [f"{kind} has no field {name}" for name in set(value) - sample - described]
        absent = [f"{kind} lacks {name}" for name in sample - set(value)]
        return sorted(unknown) + sorted(absent)

    def _operation(self, method: str, path: str) -> Json:
        for template, methods in self._spec["paths"].items():
            pattern = re.sub(r"\{\w+\}", r"[^/]+", template)
            if re.fullmatch(pattern, path) and method.lower() in methods:
                found: Json = methods[method.lower()]
                return found
        raise AssertionError(f"Stripe's description at hand has no {method} {path}")

    def _check(self, schema: Json, value: Any) -> list[str]:
        root = {"components": self._components, "checked": _as_json_schema(schema)}
        return _errors(schema, value, root=root)


class SendGridContract:
    """SendGrid's description of the body of POST /v3/mail/send."""

    def __init__(self) -> None:
        contract = _load("sendgrid-mail-send.json")
        body = _as_json_schema(contract["body"])
        # the description says "string" but its text, the documentation and the SDKs say: an object of strings
        body["properties"]["custom_args"] = {"type": "object", "additionalProperties": {"type": "string"}}
        self._root = {"definitions": _as_json_schema(contract["definitions"]), "checked": body}

    def request_errors(self, mail: Json) -> list[str]:
        """Return where a mail differs from SendGrid's description."""
        return _errors({}, mail, root=self._root)


class CloudEventsContract:
    """The CloudEvents project's JSON Schema of an event, and its naming rule, which the schema cannot say."""

    def __init__(self) -> None:
        schema = _load("cloudevents.json")
        self._root = {"definitions": schema["definitions"], "checked": schema}
        self._attributes = set(schema["properties"])

    def event_errors(self, event: Json) -> list[str]:
        """Return where an event in JSON differs from CloudEvents 1.0."""
        named = [f"{name} is no name of an attribute" for name in event if not re.fullmatch(r"[a-z0-9]{1,20}", name)]
        valued = [
            f"{name} is no value of an extension"
            for name, value in event.items()
            if name not in self._attributes and (not isinstance(value, str | int) or value == "")
        ]
        return _errors({}, event, root=self._root) + named + valued


def _nested(params: Mapping[str, str]) -> Json:
    """Turn `a[b]` into nested objects."""
    values: Json = {}
    for name, value in params.items():
        first, *rest = re.findall(r"[^\[\]]+", name) if "[" in name else [name]
        node = values
        for part in [first, *rest][:-1]:
            node = node.setdefault(part, {})
        node[[first, *rest][-1]] = value
    return values


def _typed(value: Any, schema: Json) -> Any:
    """Give a form's texts the types that the schema asks for; what does not fit stays a text."""
    for choice in _choices(schema):
        kind = choice.get("type")
        if isinstance(value, dict) and kind == "array":
            return [_typed(item, choice["items"]) for item in value.values()]
        if isinstance(value, dict) and kind == "object":
            parts, others = choice.get("properties", {}), choice.get("additionalProperties")
            rest: Json = others if isinstance(others, dict) else {}
            return {name: _typed(item, parts.get(name, rest)) for name, item in value.items()}
        if kind == "integer" and isinstance(value, str) and re.fullmatch(r"-?\d+", value):
            return int(value)
        if kind == "boolean" and value in ("true", "false"):
            return value == "true"
    return value


def _choices(schema: Json) -> Iterable[Json]:
    choices: list[Json] = schema.get("anyOf", [schema])
    return choices

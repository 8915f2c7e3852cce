"""A walker over JSON Schemas, for the few keywords that ours use: fast to import, and never too kind.

A keyword that it does not know makes it answer no, so a yes can be trusted; a test holds it against
`jsonschema`.
"""

from __future__ import annotations

import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Schema = dict[str, Any]
    Load = Callable[[str], Schema]

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "null": (type(None),),
}


def _is_type(value: object, names: str | list[str]) -> bool:
    allowed = [names] if isinstance(names, str) else names
    if isinstance(value, bool):
        return "boolean" in allowed
    return any(isinstance(value, _TYPES[name]) for name in allowed)


def _properties(value: object, known: Schema, load: Load) -> bool:
    if not isinstance(value, dict):
        return True
    return all(accepts(value[name], schema, load) for name, schema in known.items() if name in value)


def _additional(value: object, schema: Schema, load: Load) -> bool:
    if not isinstance(value, dict):
        return True
    extra = [item for name, item in value.items() if name not in schema.get("properties", {})]
    rule = schema["additionalProperties"]
    return not extra if rule is False else all(accepts(item, rule, load) for item in extra)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


_KEYWORDS: dict[str, Callable[[Any, Any, Schema, Load], bool]] = {
    "$schema": lambda value, rule, schema, load: True,
    "$id": lambda value, rule, schema, load: True,
    "title": lambda value, rule, schema, load: True,
    "description": lambda value, rule, schema, load: True,
    "$ref": lambda value, rule, schema, load: accepts(value, load(rule), load),
    "type": lambda value, rule, schema, load: _is_type(value, rule),
    "enum": lambda value, rule, schema, load: value in rule,
    "pattern": lambda value, rule, schema, load: not isinstance(value, str) or bool(re.search(rule, value)),
    "minLength": lambda value, rule, schema, load: not isinstance(value, str) or len(value) >= rule,
    "minimum": lambda value, rule, schema, load: not _is_number(value) or value >= rule,
    "maximum": lambda value, rule, schema, load: not _is_number(value) or value <= rule,
    "minItems": lambda value, rule, schema, load: not isinstance(value, list) or len(value) >= rule,
    "required": lambda value, rule, schema, load: not isinstance(value, dict) or all(k in value for k in rule),
    "items": lambda value, rule, schema, load: (
        not isinstance(value, list) or all(accepts(item, rule, load) for item in value)
    ),
    "properties": lambda value, rule, schema, load: _properties(value, rule, load),
    "additionalProperties": lambda value, rule, schema, load: _additional(value, schema, load),
}


def accepts(value: object, schema: Schema, load: Load) -> bool:
    """Whether `value` is surely valid; `load` gives the schema of a "$ref"."""
    return all(
        keyword in _KEYWORDS and _KEYWORDS[keyword](value, rule, schema, load) for keyword, rule in schema.items()
    )

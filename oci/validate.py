"""Hold a document against one of our schemas; the error names the place by its JSON path.

The `jsonschema` package has the last word, but costs 60 ms to import.  So a small walker over the same schema
files (`oci.quickcheck`) looks first: what it accepts is valid, and only what it does not accept is handed
to `jsonschema`, which then finds the words.
"""

from __future__ import annotations

import json
import os

from oci.quickcheck import accepts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SCHEMAS = os.path.join(os.path.dirname(__file__), "schemas")


class InvalidDocument(Exception):
    """A document breaks its schema, or is no JSON at all."""


def load_schema(name: str) -> dict[str, Any]:
    """One schema file, e.g. "config.json"."""
    with open(os.path.join(SCHEMAS, name)) as stream:
        schema: dict[str, Any] = json.load(stream)
    return schema


def validate(document: object, schema: str, source: str) -> None:
    """Raise InvalidDocument "<source>: $.process.cwd: ..." where `document` breaks schema file `schema`."""
    if accepts(document, load_schema(schema), load_schema):
        return
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match
    from referencing import Registry, Resource

    registry: Any = Registry(retrieve=lambda uri: Resource.from_contents(load_schema(uri)))  # type: ignore[call-arg]
    error = best_match(Draft202012Validator(load_schema(schema), registry=registry).iter_errors(document))
    if error is not None:
        raise InvalidDocument(f"{source}: {error.json_path}: {error.message}")


def _has_null_byte(value: object) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null_byte, (*value, *value.values())))
    if isinstance(value, list):
        return any(map(_has_null_byte, value))
    return isinstance(value, str) and "\0" in value


def read_json(path: str) -> Any:
    """Parse a JSON file; the error names the file, the line and the column."""
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
        document = json.loads(text)
        if "\\u0000" in text and _has_null_byte(document):
            raise InvalidDocument(f"{path} has a string with a null byte, which no path and no argument can have")
        return document
    except ValueError as err:
        raise InvalidDocument(f"{path} is not valid JSON: {err}") from err
    except RecursionError as err:
        raise InvalidDocument(f"{path} is nested too deeply") from err

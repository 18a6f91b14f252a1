"""Sentences for requests that do not fit the API: where, the value seen, and what is allowed.

pydantic finds the faults; its own messages name its types and validators, which callers do not
know.
"""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from types import NoneType
from typing import Any, get_args

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

_MAX_SHOWN = 200  # characters of a wrong value that are quoted

_ALLOWED = {  # by pydantic's type of error
    "bool_type": "true or false",
    "dict_type": "an object",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than_equal": "{ge} or more",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of 64 bits",
    "int_type": "a whole number",
    "less_than_equal": "{le} or less",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_attributes_type": "an object",
    "model_type": "an object",
    "string_too_long": "text of {max_length} or fewer characters",
    "string_too_short": "text of {min_length} or more characters",
    "string_type": "text",
    "string_unicode": "Unicode text without unpaired surrogates",
    "tuple_type": "a list",
    "too_long": "{max_length} or fewer values",
    "too_short": "{min_length} or more values",
}


def shown(value: Any) -> str:
    """The value as JSON, as the caller sent it; cut to 200 characters."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    text = text.encode(errors="backslashreplace").decode()  # halves of surrogate pairs
    return text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."


def wrong_fields(request: Request, error: RequestValidationError) -> Iterator[tuple[str, str, Any]]:
    """The pointer of each wrong field, a sentence on what is wrong, and the value seen."""
    for entry in error.errors():
        kind, (place, *rest), value = entry["type"], entry["loc"], entry.get("input")
        pointer = _json_pointer(entry, error.body) if place == "body" else ".".join([place, *rest])
        if kind == "missing":
            yield pointer, "is missing" if rest else "the body is missing", None
        elif kind == "extra_forbidden":
            allowed = ", ".join(_model_at(request, rest[:-1]).model_fields)
            yield pointer, f"unknown field; allowed: {allowed}", value
        elif kind == "value_error":  # of our own validators, whose messages are whole sentences
            yield pointer, str(entry["ctx"]["error"]), value
        else:
            bounds = {n: str(b).removesuffix(".0") for n, b in entry.get("ctx", {}).items()}
            allowed = _ALLOWED.get(kind, "what /docs describes").format(**bounds)
            yield pointer, f"got {shown(value)}; allowed: {allowed}", value


def _model_at(request: Request, location: Sequence[str | int]) -> type[BaseModel]:
    """The model of the object at a location of the body."""
    model = inspect.signature(request.scope["endpoint"]).parameters["body"].annotation
    for part in location:
        if isinstance(part, str):  # a field that holds an object, or a list of them
            kinds = get_args(model.model_fields[part].annotation)
            (model,) = [kind for kind in kinds if kind is not NoneType]
    return model


def _json_pointer(entry: Mapping[str, Any], body: Any) -> str:
    """JSON pointer to a wrong field; what pydantic appends to its location is cut off."""
    parts = ["#"]
    for part in entry["loc"][1:]:
        inside = isinstance(body, Mapping) or (
            isinstance(body, Sequence) and isinstance(part, int) and not isinstance(body, str)
        )
        if isinstance(body, Mapping) and part not in body:
            if entry["type"] == "missing":
                parts.append(str(part))
            break
        if not inside:
            break
        parts.append(str(part).replace("~", "~0").replace("/", "~1"))
        body = body[part]
    return "/".join(parts)

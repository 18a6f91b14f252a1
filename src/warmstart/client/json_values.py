"""Values as JSON can hold them: of numpy, pandas and Python types, without importing the former.

What the values mean the service decides; here they only keep what they are.
"""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import UUID

from warmstart.errors import DataError

_MISSING = ("NAType", "NaTType")  # of pandas


def json_value(value: Any) -> Any:
    """The value in plain types; every form of a missing one is None.

    Raises:
        DataError: a type that JSON has no form for.
    """
    if value is None or type(value).__name__ in _MISSING:
        return None
    to_list = getattr(value, "tolist", None) or getattr(value, "to_list", None)
    if to_list is not None:  # of numpy, pandas or polars
        return json_value(to_list())
    match value:
        case str() if not value.isascii() and any("\ud800" <= mark <= "\udfff" for mark in value):
            raise DataError(f"got {value!r}; allowed: Unicode text without unpaired surrogates")
        case str() | bool() | int():
            return value
        case float() if value != value:
            return None
        case float() if abs(value) != float("inf"):
            return value
        case Decimal():
            return int(value) if value == value.to_integral_value() else format(value, "f")
        case UUID():
            return str(value)
        case date():  # and datetime
            return value.isoformat()
        case bytes():
            try:
                return value.decode()
            except UnicodeDecodeError:
                raise DataError(f"got {value!r}; allowed: text in UTF-8") from None
        case Mapping():
            return {str(name): json_value(part) for name, part in value.items()}
        case list() | tuple() | set() | frozenset():
            return [json_value(part) for part in value]
    raise DataError(f"got {value!r} of type {type(value).__name__}; allowed: what JSON can hold")


def json_id(value: Any) -> Any:
    """An id in plain types.

    Raises:
        DataError: neither text nor a number.
    """
    plain = json_value(value)
    if isinstance(value, date) or not isinstance(plain, str | int | float):
        raise DataError(f"id {value!r}; allowed: a whole number or a non-empty string")
    return plain


def json_list(values: Any, name: str) -> list[Any]:
    """The values of an argument that must be a list.

    Raises:
        DataError: one value where a list belongs.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise DataError(f"{name} must be a list, got {values!r}; write [{values!r}]")
    return list(values)


def json_ids(values: Any, name: str) -> list[Any]:
    """The ids of an argument that must be a list, in plain types.

    Raises:
        DataError: one value where a list belongs, or what is no id.
    """
    return [json_id(value) for value in json_list(values, name)]

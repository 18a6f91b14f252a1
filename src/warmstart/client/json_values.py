"""Arguments as JSON holds them: of Python, numpy, pandas and polars, without importing the latter.

What an id or a value means the service decides. Here only what JSON has no form for is refused.
"""

from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from math import isfinite
from typing import Any
from uuid import UUID

from warmstart.errors import DataError, shortened

_MISSING = ("NAType", "NaTType")  # of pandas
_BYTES = (bytes, bytearray, memoryview)
_OPTIONS = {bool: "True or False", int: "a whole number", float: "a finite number", str: "text"}
_EXACT = {2: 2**11, 4: 2**24}  # floats of this many bytes from which one stands for several ids


def wrong(name: str, value: Any, allowed: str) -> DataError:
    """The error for an argument: its name, its value, and what is allowed."""
    return DataError(f"{name}: got {shortened(value)}; allowed: {allowed}")


def json_option(value: Any, name: str, kind: type) -> Any:
    """An argument that is one truth value, number or text; ``kind``: bool, int, float or str.

    Raises:
        DataError: it has another type, or is not finite.
    """
    plain = _plain(value)
    kinds = (int, float) if kind is float else kind
    right = isinstance(plain, kinds) and isinstance(plain, bool) == (kind is bool)
    if not right or (kind is float and not isfinite(plain)):
        raise wrong(name, value, _OPTIONS[kind])
    return json_value(plain, name)


def json_id(value: Any, name: str) -> int | str:
    """An id in plain types; a float that is a whole number is that number.

    Raises:
        DataError: neither text nor a whole number.
    """
    plain = _plain(value)
    match plain:
        case str() | bytes() | bytearray() | memoryview() if len(plain):
            return json_value(plain, name)
        case int() if not isinstance(plain, bool):
            return plain
        case Decimal() if plain.is_finite() and plain == plain.to_integral_value():
            return int(plain)
        case float() if plain.is_integer():
            if abs(plain) < _EXACT.get(getattr(value, "itemsize", 8), 2**53):
                return int(plain)
    raise wrong(name, value, "a whole number or non-empty text as id")


def json_ids(values: Any, name: str) -> list[int | str]:
    """The ids of an argument that must be a list; of a set, in any order, as it has no effect.

    Raises:
        DataError: it is no list, or a value is no id.
    """
    return [json_id(value, f"{name}[{n}]") for n, value in enumerate(json_list(values, name))]


def json_columns(columns: Any, name: str) -> dict[str, Any]:
    """The columns of an item.

    Raises:
        DataError: no mapping, or JSON has no form for a name or a value.
    """
    if not isinstance(columns, Mapping):
        raise wrong(name, columns, "a mapping of columns, such as {'title': 'Night trains'}")
    return {
        json_option(column, f"a name in {name}", str): json_value(value, f"{name}[{column!r}]")
        for column, value in columns.items()
    }


def json_list(values: Any, name: str) -> list[Any]:
    """The values of an argument that must be a list, an array or a column.

    Raises:
        DataError: one value, a mapping or a frame.
    """
    is_single = isinstance(values, (str, *_BYTES)) or getattr(values, "ndim", 1) == 0
    if isinstance(values, Mapping) or hasattr(type(values), "columns"):
        raise wrong(name, values, "a list, or one column of a frame")
    if is_single or not isinstance(values, Iterable):
        raise wrong(name, values, f"a list, such as [{values!r}]" if is_single else "a list")
    return list(values)


def json_rows(table: Any, name: str) -> list[Any]:
    """The rows of a frame of pandas or polars, as mappings; else the values of a list.

    Raises:
        DataError: neither.
    """
    if hasattr(table, "to_dicts"):  # of polars
        return table.to_dicts()
    if hasattr(table, "iterrows"):  # of pandas
        return table.to_dict("records")
    return json_list(table, name)


def json_value(value: Any, name: str) -> Any:
    """The value of a column: one value or a list of them; every form of a missing one is None.

    The values of a set are sorted, since their order changes from process to process.

    Raises:
        DataError: JSON has no form for it.
    """
    plain = _plain(value)
    if isinstance(plain, set | frozenset):
        return sorted((_json_scalar(part, name) for part in plain), key=str)
    if isinstance(plain, list | tuple):
        return [_json_scalar(part, name) for part in plain]
    return _json_scalar(plain, name)


def _json_scalar(value: Any, name: str) -> Any:
    plain = _plain(value)
    match plain:
        case None | bool() | int():
            return plain
        case str():
            if not plain.isascii() and any("\ud800" <= mark <= "\udfff" for mark in plain):
                raise wrong(name, value, "Unicode text without unpaired surrogates")
            return plain
        case float() if isfinite(plain):
            return plain
        case Decimal() if plain.is_finite():
            return format(plain, "f")
        case datetime():
            return plain.isoformat(sep=" ")
        case date():
            return plain.isoformat()
        case bytes() | bytearray() | memoryview():
            try:
                return bytes(plain).decode()
            except UnicodeDecodeError:
                raise wrong(name, value, "text in UTF-8") from None
    raise wrong(name, value, "text, finite numbers, dates, true, false, None, or a list of these")


def _plain(value: Any) -> Any:
    """Convert to a type of Python; every missing value becomes None."""
    if value is None or type(value).__name__ in _MISSING:
        return None
    if type(value).__name__ == "datetime64":  # its nanoseconds would become an integer
        value = value.astype("datetime64[us]")
    to_list = getattr(value, "tolist", None) or getattr(value, "to_list", None)
    if to_list is not None and not isinstance(value, memoryview):  # of numpy, pandas or polars
        value = to_list()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, float) and value != value:
        return None
    return None if isinstance(value, Decimal) and value.is_nan() else value

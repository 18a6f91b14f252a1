"""Tables as they were brought: csv, jsonl, parquet or a frame, read without guessing types.

A cell of a csv file stays a string here; ``columns`` decides what it means. So an id such as
``007`` or ``1e3`` is never turned into a number behind the user's back.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as arrow_parquet

from warmstart.errors import DataError

SUFFIXES = (".csv", ".csv.gz", ".parquet", ".jsonl")


@dataclass(frozen=True)
class Table:
    """Columns with the name of where they came from.

    Attributes:
        frame: the columns; a missing cell is null.
        source: the file, or what the caller called the frame; opens every error message.
        textual: every cell is a string whose type is still open (csv).
    """

    frame: pl.DataFrame
    source: str
    textual: bool = False

    def column(self, name: str) -> pl.Series:
        """One column.

        Raises:
            DataError: there is none of that name.
        """
        if name not in self.frame.columns:
            raise DataError(
                f"{self.source}: column {name!r} is missing; its columns are {self.frame.columns}"
            )
        return self.frame.get_column(name)

    def malformed(self, name: str, bad: pl.Series, allowed: str) -> DataError:
        """The error for the first row where ``bad`` (bool, one value a row) is true.

        Rows are counted from 1 and the header of a csv file is not a row.
        """
        row = bad.arg_max() or 0
        more = int(bad.sum()) - 1
        others = f" ({more} more row(s) like it)" if more else ""
        return DataError(
            f"{self.source}: row {row + 1}, column {name!r}: "
            f"got {self.column(name)[row]!r}{others}; allowed: {allowed}"
        )


def read_table(path: Path) -> Table:
    """The table in a csv, csv.gz, jsonl or parquet file.

    Raises:
        DataError: the file is missing, empty, of another kind, or a row of it is malformed.
    """
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    if path.name.endswith((".csv", ".csv.gz")):
        return read_csv(path)
    if path.name.endswith(".jsonl"):
        return _read_jsonl(path)
    if path.name.endswith(".parquet"):
        return _read_parquet(path)
    raise DataError(f"{path}: unknown kind of file; allowed: {', '.join(SUFFIXES)}")


def frame_table(frame: Any, source: str) -> Table:
    """A table from a polars, pandas or Arrow frame, or from a mapping of column to values.

    Anything that speaks the Arrow C stream interface is read, pandas among them, and none of
    these packages has to be installed.

    Raises:
        DataError: ``frame`` is none of these, or a column of it mixes types.
    """
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, pl.DataFrame):
        return Table(frame, source)
    try:
        if isinstance(frame, Mapping):
            return Table(pl.DataFrame(dict(frame)), source)
        if hasattr(frame, "__arrow_c_stream__"):
            return Table(pl.DataFrame(pa.table(frame)), source)
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(f"{source}: cannot be read as a table: {error}") from None
    raise DataError(
        f"{source}: got {type(frame).__name__}; allowed: a pandas, polars or Arrow frame, "
        "or a mapping of column names to lists"
    )


def read_csv(path: Path, delimiter: str = ",", *, quotes: bool = True) -> Table:
    """A delimited file with a header, every cell a string; an unquoted empty cell is null.

    Args:
        path: plain or, where its name ends in ``.gz``, compressed.
        delimiter: one character.
        quotes: whether ``"`` quotes a cell, or is a character like any other.

    Raises:
        DataError: not UTF-8, no header, a column twice, or a row with too few or many cells.
    """
    parse = partial(
        arrow_csv.ParseOptions,
        delimiter=delimiter,
        quote_char='"' if quotes else False,
        newlines_in_values=quotes,
    )
    try:
        table = _arrow_csv(path, parse, threads=True)
    except (pa.ArrowInvalid, OSError, EOFError):
        # Only a second pass on one thread knows the number of the row that is wrong.
        try:
            table = _arrow_csv(path, parse, threads=False)
        except (pa.ArrowInvalid, OSError, EOFError) as error:
            raise DataError(f"{path}: {_csv_problem(error)}") from None
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column(s) {twice} occur twice in the header")
    return Table(pl.DataFrame(table), str(path), textual=True)


def _arrow_csv(
    path: Path, parse: Callable[..., arrow_csv.ParseOptions], *, threads: bool
) -> pa.Table:
    # Blocks far longer than any text, since a row must fit into one.
    read = arrow_csv.ReadOptions(block_size=1 << 24, use_threads=threads)
    # A first look at the header alone, so that every column can be declared a string.
    with arrow_csv.open_csv(path, read, parse(invalid_row_handler=lambda _: "skip")) as head:
        names = head.schema.names
    strings = arrow_csv.ConvertOptions(
        column_types=dict.fromkeys(names, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    return arrow_csv.read_csv(path, read, parse(), strings)


def _csv_problem(error: Exception) -> str:
    text = str(error)
    if "Empty CSV" in text:
        return "the file is empty; a header line is needed"
    numbered = re.search(r"(?:column #(\d+): )?Row #(\d+): (.*)", text, re.DOTALL)
    if numbered:  # Arrow counts the header as row 1, and columns from 0
        column = f", column number {int(numbered[1]) + 1}" if numbered[1] else ""
        return f"row {int(numbered[2]) - 1}{column}: {numbered[3]}"
    return f"not a csv file: {text}"


def _read_jsonl(path: Path) -> Table:
    """One JSON object a line. Lists of strings become ``a|b|c``; other nesting stays JSON text."""
    columns: dict[str, list[Any]] = {}
    count = 0
    with path.open("rb") as lines:
        for count, line in enumerate(lines, start=1):
            record = _json_object(path, count, line)
            for name in record.keys() - columns.keys():
                columns[name] = [None] * (count - 1)
            for name, values in columns.items():
                values.append(_flat(record.get(name)))
    if not columns:
        raise DataError(f"{path}: the file is empty; one JSON object a line is needed")
    series = [_one_type(path, name, values) for name, values in columns.items()]
    return Table(pl.DataFrame(series), str(path))


def _json_object(path: Path, row: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError as error:  # also bad UTF-8
        raise DataError(f"{path}: row {row}: not JSON: {error}; got {line[:80]!r}") from None
    if not isinstance(record, dict):
        raise DataError(f"{path}: row {row}: got {record!r}; allowed: one JSON object a line")
    return record


def _flat(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return "|".join(value)
    if isinstance(value, (list, dict)):
        return json.dumps(value, ensure_ascii=False)
    return value


def _one_type(path: Path, name: str, values: list[Any]) -> pl.Series:
    """A column, after checking that its values share one type (int and float may mix)."""
    expected: type | None = None
    for row, value in enumerate(values, start=1):
        kind = type(value)
        if value is None or kind is expected:
            continue
        if expected is None or {kind, expected} == {int, float}:
            expected = float if float in (kind, expected) else kind
            continue
        raise DataError(
            f"{path}: row {row}, column {name!r}: got {value!r}; "
            f"allowed: {expected.__name__}, as in the rows before"
        )
    try:
        return pl.Series(name, values, strict=expected is not float)
    except (OverflowError, TypeError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{path}: column {name!r}: {error}") from None


def _read_parquet(path: Path) -> Table:
    try:
        return Table(pl.DataFrame(arrow_parquet.read_table(path)), str(path))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a parquet file: {error}") from None

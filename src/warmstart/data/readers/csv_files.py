"""Read delimited files without guessing types, and check them for unclosed quotes.

Cells stay strings here and ``values`` interprets them, so an id such as ``007`` or ``1e3`` never
becomes a number. Arrow reads the files. Python's ``csv`` module first checks files that contain
quotes, since it is strict about quotes and Arrow is not.
"""

import csv
import io
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.csv as arrow_csv

from warmstart.data.readers.tables import Table
from warmstart.data.readers.utf8 import DAMAGED, check_byte_order_mark, check_utf8, open_bytes
from warmstart.errors import DataError, DataWarning

_CHUNK = 2**24
_DELIMITERS = ",;\t|"
_HEADER_BYTES = 2**16  # enough to see how the names are separated


def read_csv(path: Path, delimiter: str = ",", *, quotes: bool = True) -> Table:
    """Read a delimited file with a header; cells are strings, unquoted empty cells are null.

    Args:
        path: the file; compressed if its name ends in ``.gz``.
        delimiter: one character.
        quotes: whether ``"`` quotes a cell or is an ordinary character.

    Raises:
        DataError: the file is not UTF-8, has no header, another delimiter, a column twice, a row
            with too few or too many cells, or an unclosed quote.
    """
    parse = partial(
        arrow_csv.ParseOptions,
        delimiter=delimiter,
        quote_char='"' if quotes else False,
        newlines_in_values=quotes,
    )
    try:
        check_byte_order_mark(path)
        _check_delimiter(path, delimiter, quotes=quotes)
        if quotes and _has_quotes(path):
            _check_quotes(path, delimiter)
        table = _arrow_csv(path, parse, threads=True)
    except (pa.ArrowInvalid, *DAMAGED, UnicodeDecodeError):
        try:
            check_utf8(path, delimiter)
            # Arrow reports the number of a wrong row only if it reads on one thread.
            table = _arrow_csv(path, parse, threads=False)
        except (pa.ArrowInvalid, *DAMAGED) as error:
            raise DataError(f"{path}: {_csv_problem(error)}") from None
    twice = sorted({name for name in table.column_names if table.column_names.count(name) > 1})
    if twice:
        raise DataError(f"{path}: column(s) {twice} occur twice in the header")
    return Table(pl.DataFrame(table), str(path), untyped=True)


def _arrow_csv(
    path: Path, parse: Callable[..., arrow_csv.ParseOptions], *, threads: bool
) -> pa.Table:
    # Blocks are much longer than any text, since a row must fit into one.
    read = arrow_csv.ReadOptions(block_size=_CHUNK, use_threads=threads)
    # Read the header first, so that every column can be declared a string.
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


def _check_delimiter(path: Path, delimiter: str, *, quotes: bool) -> None:
    """Check that the names in the header are not separated by another character.

    The header comes first and decides alone, since a row may contain the right delimiter too: as
    the decimal comma of a number, or in a text.

    Raises:
        DataError: they are; names the character.
    """
    with open_bytes(path) as file:
        start = file.read(_HEADER_BYTES).decode("utf-8-sig", "replace")
    line = next(iter(start.lstrip("\r\n").splitlines()), "")

    def names(separator: str) -> list[str]:
        quoting = csv.QUOTE_MINIMAL if quotes else csv.QUOTE_NONE
        return next(csv.reader([line], delimiter=separator, quoting=quoting), []) or [""]

    given = names(delimiter)
    for other in _DELIMITERS:
        if other in given[0] and len(names(other)) > len(given):
            raise DataError(
                f"{path}: the names in the header are separated by {other!r}; allowed: "
                f"{delimiter!r} between cells, and a point in decimal numbers; got {line[:80]!r}"
            )


# -- quotes --


def _has_quotes(path: Path) -> bool:
    with open_bytes(path) as file:
        return any(b'"' in chunk for chunk in iter(lambda: file.read(_CHUNK), b""))


def _check_quotes(path: Path, delimiter: str) -> None:
    """Check that quotes are closed and doubled; warn about cells that may contain other rows.

    Raises:
        DataError: they are not; names row, column and the start of the cell.
    """
    limit = csv.field_size_limit(sys.maxsize)  # applies to the process; restored below
    with open_bytes(path) as file:
        lines = _Lines(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
        rows = csv.reader(lines, delimiter=delimiter, strict=True)
        header: list[str] = []
        row, suspects = 0, []
        try:
            for cells in rows:
                if not header:
                    header = cells
                elif cells:
                    row += 1
                    if len(lines.of_row) > 1:
                        suspects += _swallowed(cells, header, delimiter, row)
                lines.of_row.clear()
        except csv.Error as error:
            raise DataError(
                f"{path}: {_quote_problem(str(error), lines.of_row[0], header, delimiter, row + 1)}"
            ) from None
        finally:
            csv.field_size_limit(limit)
    if suspects:
        more = f" ({len(suspects) - 1} more cell(s) like it)" if len(suspects) > 1 else ""
        warnings.warn(
            f"{path}: {suspects[0]} contains line breaks and what looks like other rows{more}; "
            "is a quote before it not closed?",
            DataWarning,
            stacklevel=2,
        )


class _Lines:
    """Iterate over lines and keep the first and the last one of the current row."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.of_row: list[str] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self.of_row = [*self.of_row[:1], line]
        return line


def _swallowed(cells: list[str], header: list[str], delimiter: str, row: int) -> list[str]:
    """Find cells of a row that contain a line with as many delimiters as the header.

    A delimiter before a blank counts as punctuation.
    """
    other_row = re.compile(rf"[^\s{re.escape(delimiter)}]+{re.escape(delimiter)}(?! )")
    found = []
    for name, cell in zip(header, cells, strict=False):
        _, *inner = cell.splitlines() or [""]
        if len(header) > 1 and any(
            line.count(delimiter) == len(header) - 1 and other_row.match(line) for line in inner
        ):
            found.append(f"row {row}, column {name!r}")
    return found


def _quote_problem(error: str, line: str, header: list[str], delimiter: str, row: int) -> str:
    where, seen = f"row {row}" if header else "the header", line.strip()
    for name, cell in zip(header, line.split(delimiter), strict=False):
        if (cell.startswith('"') and cell.count('"') % 2) or re.match(r'"[^"]*"[^"\s]', cell):
            where, seen = f"row {row}, column {name!r}", cell.strip()
            break
    problem = (
        "a quote opens and is never closed"
        if "unexpected end" in error
        else "a quote inside a quoted cell is not doubled"
    )
    return (
        f'{where}: got {seen[:80]!r}: {problem}; close it, or write a literal quote as ""'
        " in a quoted cell"
    )

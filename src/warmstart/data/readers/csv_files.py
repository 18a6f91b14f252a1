"""Delimited files, read without guessing types, and checked for quotes that are not closed.

A cell stays a string here; ``values`` decides what it means. So an id such as ``007`` or ``1e3`` is
never turned into a number. Arrow reads the file; Python's ``csv`` module, which is strict about
quotes where Arrow is not, checks files that contain quotes.
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

from warmstart.data.readers.encoding import check_byte_order_mark, check_utf8, open_bytes
from warmstart.data.readers.tables import Table
from warmstart.errors import DataError, DataWarning

_CHUNK = 2**24


def read_csv(path: Path, delimiter: str = ",", *, quotes: bool = True) -> Table:
    """A delimited file with a header, every cell a string; an unquoted empty cell is null.

    Args:
        path: plain or, where its name ends in ``.gz``, compressed.
        delimiter: one character.
        quotes: whether ``"`` quotes a cell, or is a character like any other.

    Raises:
        DataError: not UTF-8, no header, a column twice, a row with too few or many cells, or a
            quote that is not closed.
    """
    parse = partial(
        arrow_csv.ParseOptions,
        delimiter=delimiter,
        quote_char='"' if quotes else False,
        newlines_in_values=quotes,
    )
    try:
        check_byte_order_mark(path)
        if quotes and _has_quotes(path):
            _check_quotes(path, delimiter)
        table = _arrow_csv(path, parse, threads=True)
    except (pa.ArrowInvalid, OSError, EOFError, UnicodeDecodeError):
        try:
            check_utf8(path, delimiter)
            # Only a second pass on one thread knows the number of the row that is wrong.
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
    read = arrow_csv.ReadOptions(block_size=_CHUNK, use_threads=threads)
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


# -- quotes --


def _has_quotes(path: Path) -> bool:
    with open_bytes(path) as file:
        return any(b'"' in chunk for chunk in iter(lambda: file.read(_CHUNK), b""))


def _check_quotes(path: Path, delimiter: str) -> None:
    """Refuse a quote that is not closed or not doubled; warn of cells that may hold other rows.

    Raises:
        DataError: naming row, column and the start of the cell.
    """
    limit = csv.field_size_limit(sys.maxsize)  # of the process: put back below
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
    """Lines of a file; those of the present row are kept."""

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
    """The cells of a row that contain a line with as many delimiters as the header.

    A delimiter before a blank is taken for punctuation, as in prose.
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
        f'{where}: got {seen[:80]!r}: {problem}; close it, or write a quote of the text as ""'
        " in a quoted cell"
    )

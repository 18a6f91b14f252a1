"""Tables before their values are interpreted: named columns of cells, and their source."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl
import pyarrow as pa

from warmstart.data.cells import Cells, any_column, check_list, is_pandas_frame
from warmstart.data.readers.column_names import suggested_names
from warmstart.errors import DataError, shortened
from warmstart.process import check_process


@dataclass(frozen=True)
class Table:
    """Columns and the name of their source.

    Attributes:
        frame: the columns; a missing cell is null.
        source: the file, or a name for the frame; error messages begin with it.
        untyped: whether all cells are strings of undecided type (csv).
    """

    frame: pl.DataFrame
    source: str
    untyped: bool = False

    def cells(self, name: str) -> Cells:
        """Return the cells of one column.

        Raises:
            DataError: no column has this name.
        """
        columns = self.frame.columns
        if name not in columns:
            near = suggested_names(columns, [name])
            hint = f"; is it {next(iter(near))!r}?" if near else ""
            if len(columns) == 1 and (found := [mark for mark in ";\t|" if mark in columns[0]]):
                hint = f"; was it made from a file with {found[0]!r} between the cells?"
            raise DataError(
                f"{self.source}: column {name!r} is missing; its columns are {columns}{hint}"
            )
        return Cells(self.frame.get_column(name), self.source, name, self.untyped)


def frame_table(frame: Any, source: str) -> Table:
    """Convert a polars, pandas or Arrow frame, or a mapping of column name to values, to a table.

    Any object with the Arrow C stream interface is accepted. pandas need not be installed. The
    index of a pandas frame is not read.

    Raises:
        DataError: ``frame`` is none of these, its columns differ in length, or a name occurs twice.
    """
    check_process()
    if isinstance(frame, pl.LazyFrame):
        frame = frame.collect()
    if isinstance(frame, pl.DataFrame):
        return Table(frame, source)
    try:
        if is_pandas_frame(frame):
            named = [(str(name), frame.iloc[:, i]) for i, name in enumerate(frame.columns)]
        elif isinstance(frame, Mapping):
            for name, values in frame.items():
                check_list(values, source, f"column {name!r}")
            named = [(str(name), values) for name, values in frame.items()]
        elif hasattr(frame, "__arrow_c_stream__"):
            return arrow_table(pa.table(frame), source)
        else:
            raise DataError(
                f"{source}: got {type(frame).__name__}; allowed: a pandas, polars or Arrow frame, "
                "or a mapping of column names to lists"
            )
        return columns_table(named, source)
    except (pa.ArrowException, pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise DataError(f"{source}: cannot be read as a table: {error}") from None


def records_table(records: Iterable[Any], source: str) -> Table:
    """Convert mappings of column name to value, one per row; an absent name is a missing value.

    Raises:
        DataError: a record is not a mapping, or see ``columns_table``.
    """
    check_process()
    records = list(records)
    for row, record in enumerate(records, start=1):
        if not isinstance(record, Mapping):
            raise DataError(
                f"{source}: row {row}: got {shortened(record)}; allowed: a mapping of column names "
                "to values"
            )
    names = dict.fromkeys(str(name) for record in records for name in record)
    return columns_table([(name, [row.get(name) for row in records]) for name in names], source)


def is_frame(value: Any) -> bool:
    """Whether ``frame_table`` accepts this value; single columns and lists are not frames."""
    return isinstance(value, pl.LazyFrame | pl.DataFrame | Mapping | pa.Table) or (
        hasattr(value, "__arrow_c_stream__") and hasattr(value, "columns")
    )


def arrow_table(table: pa.Table, source: str) -> Table:
    """Convert an Arrow table.

    Raises:
        DataError: see ``columns_table``; or a column has periods of pandas as bare integers.
    """
    for field in table.schema:
        # Arrow knows the type of such a column only after pandas has registered it.
        if (field.metadata or {}).get(b"ARROW:extension:name") == b"pandas.period":
            raise DataError(
                f"{source}: column {field.name!r} has periods of pandas, which are stored as "
                "integers; convert them to text or timestamps, or leave the column out"
            )
    return columns_table(list(zip(table.column_names, table.columns, strict=True)), source)


def columns_table(named: list[tuple[str, Any]], source: str, *, untyped: bool = False) -> Table:
    """Build a table from names and columns.

    Raises:
        DataError: the columns differ in length, a name occurs twice or is not Unicode text, or an
            Arrow column is damaged.
    """
    names = [name for name, _ in named]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"{source}: column(s) {twice} occur twice")
    try:
        "".join(names).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{source}: column names {names}; allowed: text without unpaired surrogates"
        ) from None
    columns = []
    for name, values in named:
        try:
            columns.append(any_column(values, name))
        except pa.ArrowException as error:
            raise DataError(f"{source}: column {name!r} is damaged: {error}") from None
    lengths = {column.name: len(column) for column in columns}
    if len(set(lengths.values())) > 1:
        raise DataError(f"{source}: columns differ in length: {lengths}")
    return Table(pl.DataFrame(columns), source, untyped)

"""What a public data set is: files at addresses, and a function that converts them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from warmstart.data.readers.dataset_config import DatasetConfig
from warmstart.errors import DataError


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        url: its home.
        name: what it is called on disk.
        md5: the checksum its publisher states, where there is one. For a file without, the sha256
            of the first download is recorded beside it and every later one is held to it.
    """

    url: str
    name: str
    md5: str | None = None


@dataclass(frozen=True)
class Converted:
    """Tables in our input format.

    Attributes:
        interactions: ``user``, ``item``, and ``rating``, ``timestamp`` where known.
        items: ``item`` and columns of text.
        settings: becomes ``dataset.toml``.
        counts: what converting left out or merged.
    """

    interactions: pl.DataFrame
    items: pl.DataFrame
    settings: DatasetConfig
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A public data set.

    Attributes:
        name: what ``warmstart data get`` calls it.
        description: one line.
        terms: licence or terms of use, one line.
        files: what to download.
        convert: from the folder with the downloaded files to tables.
    """

    name: str
    description: str
    terms: str
    files: tuple[RemoteFile, ...]
    convert: Callable[[Path], Converted]


def split_lines(lines: Iterable[str], separator: str, cells: int, source: str) -> list[list[str]]:
    """The cells of each line of a file without header.

    Raises:
        DataError: a line has another number of cells; names file and row, counted from 1.
    """
    rows = []
    for row, line in enumerate(lines, start=1):
        parts = line.rstrip("\r\n").split(separator)
        if len(parts) != cells:
            raise DataError(f"{source}: row {row}: got {line!r}; allowed: {cells} cells")
        rows.append(parts)
    return rows


def whole_numbers(values: Iterable[str], name: str, source: str) -> list[int]:
    """Cells as whole numbers.

    Raises:
        DataError: naming the first cell that is not one.
    """
    numbers = []
    for row, value in enumerate(values, start=1):
        try:
            numbers.append(int(value))
        except ValueError:
            raise DataError(
                f"{source}: row {row}, column {name!r}: got {value!r}; allowed: a whole number"
            ) from None
    return numbers

"""Description of a public data set: files at URLs, and a function that converts them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from warmstart.data.readers.dataset_config import DatasetConfig
from warmstart.errors import DataError


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        url: the publisher's address.
        name: file name on disk.
        md5: the checksum that the publisher states, or None. In both cases the sha256 of the first
            download is recorded beside the file, and every later download must match it.
    """

    url: str
    name: str
    md5: str | None = None


@dataclass(frozen=True)
class SourceTables:
    """Tables in the package's input format.

    Attributes:
        interactions: columns ``user``, ``item``, and ``rating``, ``timestamp`` if known; None for
            dialogues.
        items: column ``item`` and text columns.
        settings: the content of ``dataset.toml``.
        counts: counts of the conversion, such as records left out, by name.
        dialogues: the lines of ``dialogues.jsonl``; or None.
    """

    interactions: pl.DataFrame | None
    items: pl.DataFrame
    settings: DatasetConfig
    counts: Mapping[str, int] = field(default_factory=dict)
    dialogues: Sequence[Mapping[str, Any]] | None = None


@dataclass(frozen=True)
class Source:
    """A public data set.

    Attributes:
        name: name for ``warmstart data get``.
        description: one line.
        terms: licence or terms of use, one line.
        files: the files to download; empty for generated data.
        convert: turns the folder with the downloaded files into tables.
    """

    name: str
    description: str
    terms: str
    files: tuple[RemoteFile, ...]
    convert: Callable[[Path], SourceTables]


def split_lines(lines: Iterable[str], separator: str, cells: int, source: str) -> list[list[str]]:
    """Split each line of a file without header into cells.

    Raises:
        DataError: a line does not have ``cells`` cells; names file and row, counted from 1.
    """
    rows = []
    for row, line in enumerate(lines, start=1):
        parts = line.rstrip("\r\n").split(separator)
        if len(parts) != cells:
            raise DataError(f"{source}: row {row}: got {line!r}; allowed: {cells} cells")
        rows.append(parts)
    return rows


def whole_numbers(values: Iterable[str], name: str, source: str) -> list[int]:
    """Parse cells as whole numbers.

    Raises:
        DataError: a cell is not a whole number; names the first such cell.
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

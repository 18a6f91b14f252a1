"""Read tables from csv, jsonl (also compressed, ``.gz``) and parquet files."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as arrow_parquet

from warmstart.data.readers.csv_files import read_csv
from warmstart.data.readers.tables import Table, arrow_table, columns_table
from warmstart.data.readers.utf8 import DAMAGED, check_utf8, open_bytes
from warmstart.errors import DataError, shortened
from warmstart.process import check_process

JSON_LINES = (".jsonl", ".jsonl.gz")
SUFFIXES = (".csv", ".csv.gz", ".parquet", *JSON_LINES)


def read_table(path: Path) -> Table:
    """Read the table in a file whose name has one of ``SUFFIXES``.

    Raises:
        DataError: the file is missing, empty or of another kind, or a row is malformed.
    """
    check_process()
    check_file(path)
    if path.name.endswith((".csv", ".csv.gz")):
        return read_csv(path)
    if path.name.endswith(JSON_LINES):
        return _read_json_lines(path)
    if path.name.endswith(".parquet"):
        return _read_parquet(path)
    raise DataError(f"{path}: unknown kind of file; allowed: {', '.join(SUFFIXES)}")


def check_file(path: Path) -> None:
    """Check that there is a file.

    Raises:
        DataError: there is none, or it is a folder.
    """
    if not path.is_file():
        raise DataError(f"{path}: {'not a file' if path.exists() else 'no such file'}")


def existing_folder(folder: Path | str) -> Path:
    """Return the folder as a path.

    Raises:
        DataError: there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    return folder


def find_table(folder: Path, stem: str, suffixes: Sequence[str] = SUFFIXES) -> Path | None:
    """Find the file with this stem and one of the suffixes; None if there is none.

    Raises:
        DataError: there are several.
    """
    # A folder or a broken link is found too, so that reading it is an error.
    names = {f"{stem}{suffix}" for suffix in suffixes}
    found = sorted(path for path in folder.iterdir() if path.name in names)
    if len(found) > 1:
        raise DataError(f"{folder}: found {[path.name for path in found]}; keep one of them")
    return found[0] if found else None


def _read_json_lines(path: Path) -> Table:
    """Read one JSON object per line; blank lines are skipped, absent keys are missing values."""
    columns: dict[str, list[Any]] = {}
    row = 0
    try:
        with open_bytes(path) as lines:
            for line in lines:
                if not line.strip():
                    continue
                row += 1
                record = _json_object(path, row, line)
                for name in record:
                    if name not in columns:
                        columns[name] = [None] * (row - 1)
                for name, values in columns.items():
                    values.append(record.get(name))
    except DAMAGED as error:
        raise DataError(f"{path}: cannot be read: {error}") from None
    if not columns:
        raise DataError(f"{path}: the file is empty; one JSON object per line is needed")
    return columns_table(list(columns.items()), str(path))


def _json_object(path: Path, row: int, line: bytes) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except RecursionError:
        raise DataError(
            f"{path}: row {row}: lists or objects are nested too deeply; got {line[:80]!r}"
        ) from None
    except ValueError as error:
        check_utf8(path)
        raise DataError(f"{path}: row {row}: not JSON: {error}; got {line[:80]!r}") from None
    if not isinstance(record, dict):
        seen = shortened(record)
        raise DataError(f"{path}: row {row}: got {seen}; allowed: one JSON object per line")
    return record


def _read_parquet(path: Path) -> Table:
    try:
        table = arrow_parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path}: not a parquet file: {error}") from None
    return arrow_table(table, str(path))

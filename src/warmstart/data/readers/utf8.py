"""Check that a text file is UTF-8, and find the first line that is not."""

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, cast

from warmstart.errors import DataError

DAMAGED = (OSError, EOFError, zlib.error)
"""What reading raises if a file cannot be opened, or is compressed and damaged."""

_OTHER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def open_bytes(path: Path) -> BinaryIO:
    """Open a file to read its bytes; decompress it if its name ends in ``.gz``."""
    return cast(BinaryIO, gzip.open(path) if path.name.endswith(".gz") else path.open("rb"))


def check_byte_order_mark(path: Path) -> None:
    """Check that a file does not start with the byte order mark of UTF-16 or UTF-32.

    Raises:
        DataError: it does; names the encoding.
    """
    with open_bytes(path) as file:
        start = file.read(4)
    for mark, encoding in _OTHER_MARKS.items():
        if start.startswith(mark):
            raise DataError(f"{path}: the file is {encoding}; allowed: UTF-8; save it as UTF-8")


def check_utf8(path: Path, delimiter: str = "") -> None:
    """Check that a file is UTF-8.

    Args:
        path: the file.
        delimiter: separator of the column names in the first line; "" if there is no header.

    Raises:
        DataError: it is not; names the first wrong line, the column and the bytes.
    """
    check_byte_order_mark(path)
    mark = delimiter.encode()
    with open_bytes(path) as file:
        header: list[str] = []
        for number, line in enumerate(file, start=1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                before = line[: error.start].count(mark) if mark else len(header)
                column = f", column {header[before]!r}" if before < len(header) else ""
                seen = line[max(error.start - 20, 0) : error.end + 20]
                raise DataError(
                    f"{path}: line {number}{column} is not UTF-8: got {seen!r}, which is "
                    f"{seen.decode('cp1252', 'replace')!r} in Windows-1252; save the file as UTF-8"
                ) from None
            if number == 1 and mark:
                header = [name.decode().strip('"') for name in line.rstrip(b"\r\n").split(mark)]

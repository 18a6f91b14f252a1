"""Whether a text file is UTF-8, and where it is not."""

import gzip
from pathlib import Path
from typing import BinaryIO, cast

from warmstart.errors import DataError

_OTHER_MARKS = {
    b"\xff\xfe\x00\x00": "UTF-32",
    b"\x00\x00\xfe\xff": "UTF-32",
    b"\xff\xfe": "UTF-16",
    b"\xfe\xff": "UTF-16",
}


def open_bytes(path: Path) -> BinaryIO:
    """The bytes of a file, decompressed where its name ends in ``.gz``."""
    return cast(BinaryIO, gzip.open(path) if path.name.endswith(".gz") else path.open("rb"))


def check_byte_order_mark(path: Path) -> None:
    """Refuse a file that says at its start that it is not UTF-8.

    Raises:
        DataError: naming the encoding.
    """
    with open_bytes(path) as file:
        start = file.read(4)
    for mark, encoding in _OTHER_MARKS.items():
        if start.startswith(mark):
            raise DataError(f"{path}: the file is {encoding}; allowed: UTF-8; save it as UTF-8")


def check_utf8(path: Path, delimiter: str = "") -> None:
    """Refuse a file that is not UTF-8.

    Args:
        path: the file.
        delimiter: what separates the columns that the first line names; "" if it names none.

    Raises:
        DataError: naming the first line that is not UTF-8, the column, and the bytes.
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

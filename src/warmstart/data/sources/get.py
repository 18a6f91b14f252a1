"""Download a source and convert it to a folder in the package's input format."""

import json
from datetime import UTC, datetime
from pathlib import Path

from warmstart.data.readers.files import write_folder
from warmstart.data.sources.download import Progress, download
from warmstart.data.sources.source import Source


def get_source(
    source: Source, to: Path, *, mirror: str | None = None, progress: Progress | None = None
) -> Path:
    """Download, verify and convert a source; return the data folder ``to/NAME``.

    The downloaded files and their checksums stay in ``to/downloads/NAME``. ``source.json`` beside
    the data records their URLs, the terms of use and the counts of the conversion.

    Args:
        source: one of SOURCES, or the result of ``find_source``.
        to: the folder for all data sets.
        mirror: replaces the scheme and host of every URL.
        progress: called whenever bytes arrive.

    Raises:
        UnsupportedError: httpx is not installed.
        DataError: no network, an HTTP error, a checksum mismatch, or a malformed file.
    """
    raw, folder = Path(to) / "downloads" / source.name, Path(to) / source.name
    for file in source.files:
        download(file, raw, mirror=mirror, progress=progress)
    converted = source.convert(raw)
    origin = {
        "name": source.name,
        "description": source.description,
        "terms": source.terms,
        "files": [file.url for file in source.files],
        "converted": datetime.now(UTC).isoformat(timespec="seconds"),
        "counts": dict(converted.counts),
    }
    write_folder(
        folder,
        converted.interactions,
        converted.items,
        converted.settings,
        dialogues=converted.dialogues,
        source=json.dumps(origin, indent=1, ensure_ascii=False) + "\n",
    )
    return folder

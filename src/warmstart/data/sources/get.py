"""From a source to a folder in our input format."""

import json
from datetime import UTC, datetime
from pathlib import Path

from warmstart.data.readers.files import write_folder
from warmstart.data.sources.download import Progress, download
from warmstart.data.sources.source import Source


def get_source(
    source: Source, to: Path, *, mirror: str | None = None, progress: Progress | None = None
) -> Path:
    """Downloads, checks and converts; the result is in ``to/NAME``.

    The downloaded files and their checksums stay in ``to/downloads/NAME``; ``source.json`` beside
    the data says where they came from, under which terms, and what converting counted.

    Args:
        source: one of SOURCES.
        to: the folder for all data sets.
        mirror: takes the place of scheme and host of every address.
        progress: called as bytes arrive.

    Raises:
        UnsupportedError: httpx is not installed.
        DataError: no network, an HTTP error, a checksum that differs, or a malformed file.
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
        extra={"source.json": json.dumps(origin, indent=1, ensure_ascii=False) + "\n"},
    )
    return folder

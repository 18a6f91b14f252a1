"""Download files: stream to disk, resume after an interruption, verify before use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import urlsplit

from warmstart.data.sources.source import RemoteFile
from warmstart.errors import DataError, missing_extra
from warmstart.storage import file_hash, write_text

if TYPE_CHECKING:
    import httpx

# Arguments: file name, bytes downloaded so far, total bytes (None if unknown).
Progress: TypeAlias = Callable[[str, int, int | None], None]

LOCK = "checksums.json"
_ATTEMPTS = 3
_OK, _PARTIAL, _RANGE_REFUSED = 200, 206, 416


def download(
    file: RemoteFile, folder: Path, *, mirror: str | None = None, progress: Progress | None = None
) -> Path:
    """Download a file into ``folder``, unless it is already there and unchanged.

    The md5 is checked if the publisher states one. The sha256 of the first verified download is
    recorded in ``checksums.json`` beside the file; every later download must match it.

    Args:
        file: the file to download.
        folder: target folder; created if missing.
        mirror: replaces the scheme and host of the URL.
        progress: called whenever bytes arrive.

    Returns:
        The path of the file.

    Raises:
        UnsupportedError: httpx is not installed.
        DataError: no network, an HTTP error, or a checksum mismatch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / file.name
    if path.exists():
        _check(file, path, remedy=f"delete {path} to download it again")
        return path
    url = _address(file.url, mirror)
    part = folder / f"{file.name}.part"
    _fetch(url, part, lambda done, total: progress and progress(file.name, done, total))
    try:
        _check(file, part, remedy=f"source {url}; delete {folder / LOCK} to accept the new file")
    except DataError:
        part.unlink()
        _tag_path(part).unlink(missing_ok=True)
        raise
    _tag_path(part).unlink(missing_ok=True)
    part.rename(path)
    return path


def _fetch(url: str, part: Path, progress: Callable[[int, int | None], object]) -> None:
    """Stream ``url`` to ``part``, resuming where an earlier attempt stopped."""
    try:
        import httpx
    except ImportError:
        raise missing_extra("httpx", "data") from None
    timeout = httpx.Timeout(30.0, connect=15.0)
    with httpx.Client(timeout=timeout, follow_redirects=True) as client:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                _stream(client, url, part, progress)
                return
            except httpx.TransportError as error:
                if attempt == _ATTEMPTS:
                    have = part.stat().st_size if part.exists() else 0
                    raise DataError(
                        f"{url}: no response, or the connection broke ({error}); {have} bytes are "
                        "kept and the next attempt resumes there; check the network connection"
                    ) from None


def _stream(
    client: "httpx.Client", url: str, part: Path, progress: Callable[[int, int | None], object]
) -> None:
    tag = _tag_path(part)
    have = part.stat().st_size if part.exists() and tag.exists() else 0
    headers = {"Accept-Encoding": "identity"}
    if have:
        # If-Range: get the rest of an unchanged file, or all of a changed one.
        headers |= {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="utf-8")}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == _RANGE_REFUSED:
            # The part is complete or the file shrank: only a fresh copy can be verified.
            part.unlink()
            response.close()
            return _stream(client, url, part, progress)
        if response.status_code not in {_OK, _PARTIAL}:
            raise DataError(f"{url}: HTTP {response.status_code} {response.reason_phrase}")
        resumed = response.status_code == _PARTIAL
        done = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else done + int(length)
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
        if validator and not validator.startswith("W/"):
            tag.write_text(validator, encoding="utf-8")
        with part.open("ab" if resumed else "wb") as out:
            for chunk in response.iter_bytes():
                out.write(chunk)
                done += len(chunk)
                progress(done, total)
    return None


def _check(file: RemoteFile, path: Path, *, remedy: str) -> None:
    if file.md5 is not None:
        found = file_hash(path, "md5")
        if found != file.md5:
            raise DataError(f"{file.name}: md5 {found}; its publisher states {file.md5}; {remedy}")
    lock = path.parent / LOCK
    known = json.loads(lock.read_text(encoding="utf-8")) if lock.exists() else {}
    found = file_hash(path)
    if known.setdefault(file.name, found) != found:
        raise DataError(
            f"{file.name}: sha256 {found}; the first download had {known[file.name]}; {remedy}"
        )
    write_text(lock, json.dumps(known, indent=1, sort_keys=True) + "\n")


def _tag_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.etag")


def _address(url: str, mirror: str | None) -> str:
    return url if mirror is None else mirror.rstrip("/") + urlsplit(url).path

"""Write files and folders whole or not at all, hash files, and prefix the names of arrays.

The package writes everything that it reads again through this module: a reader sees the old content
or the new content, never a mixture, even if the process is killed or the power fails. Linux can
exchange two folders in one step. On another system, a process that is killed while it replaces a
folder may leave the old content in a hidden folder beside it.
"""

import ctypes
import hashlib
import os
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from warmstart.errors import WarmstartError
from warmstart.process import check_process

# What file managers and network file systems leave beside the files of others.
_LITTER = ("._", ".nfs", ".DS_Store", "Thumbs.db", "desktop.ini")
_ATTEMPTS = 20  # of reading a folder that is replaced meanwhile
_Content = TypeVar("_Content")
_HERE, _RENAME_EXCHANGE = -100, 2  # AT_FDCWD and the flag of Linux's renameat2


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path; it replaces ``path`` when the block ends without an error.

    Parent folders are created. The temporary file is beside ``path``, so that the replacement is
    one rename within a file system. Its name contains the process and the thread, so that
    concurrent writers of the same file never share it.
    """
    check_process()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text to a file atomically."""
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def atomic_folder(
    folder: Path,
    *,
    is_ours: Callable[[Path], bool],
    files: Collection[str] | None,
    error: type[WarmstartError],
) -> Iterator[Path]:
    """Yield an empty temporary folder; it replaces ``folder`` when the block ends without an error.

    Args:
        folder: where the content goes. Parent folders are created; a symbolic link is followed.
        is_ours: returns whether an existing folder with content is of the kind that is written.
        files: names of the files and folders that such a folder may contain. One with others is
            not replaced, since they would be lost. None allows all.
        error: type of the exception to raise otherwise.

    Raises:
        WarmstartError: of type ``error``: ``folder`` is a file or must not be replaced.
    """
    check_process()
    folder = folder.resolve()
    if folder.exists() and not folder.is_dir():
        raise error(f"{folder} is a file; give a folder")
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    present = {name for name in names if not name.startswith(_LITTER)}
    if present and not is_ours(folder):
        raise error(f"{folder} exists and has other content; give another folder or empty it")
    if others := [] if files is None else sorted(present - set(files)):
        raise error(
            f"{folder} cannot be replaced: it also has {others[0]!r}, which would be lost; "
            "give another folder or move that away"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that renaming stays within one file system.
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        fresh, old = Path(scratch) / "new", Path(scratch) / "old"
        fresh.mkdir()
        yield fresh
        for path in fresh.rglob("*"):
            if path.is_file():
                _flush(path)
        if folder.exists():
            if _exchange(fresh, folder):
                return
            folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise


def read_unchanged(folder: Path, read: Callable[[], _Content]) -> _Content:
    """Read a folder that another process may replace meanwhile, so that all is of one version.

    Args:
        folder: the folder that ``read`` reads; reading is repeated if it was replaced.
        read: reads the folder and checks that it is complete.
    """
    for _ in range(_ATTEMPTS):
        before = folder_version(folder)
        try:
            content = read()
        except (OSError, WarmstartError):
            if folder_version(folder) == before:
                raise
            continue
        if folder_version(folder) == before:
            return content
    return read()


def folder_version(folder: Path) -> tuple[int, ...] | None:
    """Return numbers that differ once the folder was replaced; None if it does not exist."""
    try:
        found = folder.stat()
    except OSError:
        return None
    # ctime: the number of a deleted folder may be used again, and mtime may be copied.
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two folders in one step; False if the system cannot."""
    try:
        rename = ctypes.CDLL(None).renameat2  # Linux; Python has no function for it
    except (AttributeError, OSError, TypeError):
        return False
    paths = os.fsencode(first), os.fsencode(second)
    return rename(_HERE, paths[0], _HERE, paths[1], _RENAME_EXCHANGE) == 0


def file_hash(path: Path, algorithm: str = "sha256") -> str:
    """Return the hexadecimal hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def nest(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Rename every array ``name`` to ``prefix.name``."""
    return {f"{prefix}.{name}": array for name, array in arrays.items()}


def unnest(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Select the arrays ``prefix.name`` and rename them to ``name``: the inverse of ``nest``."""
    start = f"{prefix}."
    return {
        name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)
    }


def _flush(path: Path) -> None:
    with path.open("rb") as written:
        os.fsync(written.fileno())

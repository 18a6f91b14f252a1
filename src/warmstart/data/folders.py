"""Writing a folder at once: a reader sees the old folder or the new one, never half of it."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from warmstart.errors import WarmstartError


@contextmanager
def replacing(
    folder: Path, *, ours: Callable[[Path], bool], error: type[WarmstartError]
) -> Iterator[Path]:
    """A temporary folder to write into; it takes the place of ``folder`` when the block ends well.

    Args:
        folder: where the content is to be. Parents are made.
        ours: whether an existing folder is of the kind that may be replaced.
        error: raised where it is not.

    Raises:
        WarmstartError: of type ``error``: ``folder`` is a file, or a folder of another kind.
    """
    folder = folder.absolute()
    if folder.exists() and not folder.is_dir():
        raise error(f"{folder} is a file; give a folder")
    if folder.is_dir() and any(folder.iterdir()) and not ours(folder):
        raise error(f"{folder} exists and holds something else; give another folder or empty it")
    folder.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that renaming stays within one file system.
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        fresh, old = Path(scratch) / "new", Path(scratch) / "old"
        fresh.mkdir()
        yield fresh
        if folder.exists():
            folder.rename(old)
        try:
            fresh.rename(folder)
        except OSError:
            if old.exists():
                old.rename(folder)
            raise
        shutil.rmtree(old, ignore_errors=True)

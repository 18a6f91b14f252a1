from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from warmstart.data.dataset import Dataset
from warmstart.data.readers.frames import from_frames

Writer = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    """Writes named files (dots in names as ``__``) into a fresh folder and returns it."""

    def _write(**files: str | bytes) -> Path:
        folder = tmp_path / "given"
        folder.mkdir(exist_ok=True)
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (folder / name.replace("__", ".")).write_bytes(data)
        return folder

    return _write


@pytest.fixture(scope="session")
def timed() -> Dataset:
    """60 users, 80 items, 1,200 interactions over 10,000 seconds; items come out all the time."""
    rng = np.random.default_rng(7)
    appears = rng.permutation(80) * 120
    rows = []
    for user in range(60):
        for time in rng.integers(100, 10_000, 30):
            out = np.flatnonzero(appears <= time)
            rows.append((f"u{user:02d}", f"i{rng.choice(out):02d}", int(time)))
    users, items, times = (list(column) for column in zip(*rows, strict=True))
    ids = [f"i{item:02d}" for item in range(80)]
    return from_frames(
        {"user": users, "item": items, "time": times},
        {"item": ids, "title": [f"title {i}" for i in ids]},
        time="time",
        name="timed",
    )

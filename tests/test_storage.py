"""Folders are replaced in one step, or put back."""

import threading
from pathlib import Path

import pytest

from warmstart import storage
from warmstart.errors import DataError
from warmstart.storage import atomic_folder


def write(folder: Path, content: str) -> None:
    with atomic_folder(folder, may_replace=lambda _: True, error=DataError) as fresh:
        (fresh / "content").write_text(content)


def content_of(parent: Path) -> dict[str, str]:
    return {str(path.relative_to(parent)): path.read_text() for path in parent.rglob("content")}


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_folder_is_replaced_and_nothing_is_left_beside_it(tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(storage, "_exchange", lambda first, second: False)
    for content in ("first", "second"):
        write(tmp_path / "folder", content)
        assert content_of(tmp_path) == {"folder/content": content}
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_reader_always_finds_the_folder(tmp_path):
    write(tmp_path / "folder", "old")
    if not storage._exchange(tmp_path / "folder", tmp_path / "folder"):
        pytest.skip("this system cannot exchange two folders")
    missing, stop = [], threading.Event()

    def look():
        while not stop.is_set():
            if not (tmp_path / "folder" / "content").exists():
                missing.append(True)

    thread = threading.Thread(target=look)
    thread.start()
    for version in range(200):
        write(tmp_path / "folder", str(version))
    stop.set()
    thread.join()
    assert not missing


def test_a_failed_replacement_puts_the_old_folder_back(tmp_path, monkeypatch):
    write(tmp_path / "folder", "old")
    monkeypatch.setattr(storage, "_exchange", lambda first, second: False)
    rename = Path.rename

    def broken(self, target):
        if self.name == "new":
            raise OSError("no space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", broken)
    with pytest.raises(OSError, match="no space left"):
        write(tmp_path / "folder", "new")
    assert content_of(tmp_path) == {"folder/content": "old"}

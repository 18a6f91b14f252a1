"""Folders are replaced in one step or put back, never with files of others."""

import threading
from pathlib import Path

import pytest

from warmstart import storage
from warmstart.errors import DataError
from warmstart.storage import atomic_folder, read_unchanged


def write(folder: Path, content: str) -> None:
    with atomic_folder(folder, is_ours=lambda _: True, files={"content"}, error=DataError) as fresh:
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


@pytest.mark.parametrize("name", ["notes.txt", ".env", ".git"])
def test_a_folder_with_files_of_others_is_not_replaced(tmp_path, name):
    write(tmp_path / "folder", "old")
    (tmp_path / "folder" / name).write_text("precious")
    with pytest.raises(DataError, match=f"also has '{name}'"):
        write(tmp_path / "folder", "new")
    assert (tmp_path / "folder" / name).read_text() == "precious"


@pytest.mark.parametrize("name", [".DS_Store", "._content", ".nfs0001"])
def test_files_of_file_managers_are_not_kept(tmp_path, name):
    write(tmp_path / "folder", "old")
    (tmp_path / "folder" / name).write_bytes(b"")
    write(tmp_path / "folder", "new")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["content"]


def test_a_link_to_a_folder_stays_a_link(tmp_path):
    write(tmp_path / "folder", "old")
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert content_of(tmp_path) == {"folder/content": "new"}


def test_reading_is_repeated_until_all_is_of_one_version(tmp_path):
    folder = tmp_path / "folder"
    write(folder, "0")
    versions = iter(["1", "2"])

    def read():
        first = (folder / "content").read_text()
        if (version := next(versions, None)) is not None:
            write(folder, version)
        return first, (folder / "content").read_text()

    assert read_unchanged(folder, read) == ("2", "2")


def test_an_error_of_an_unchanged_folder_is_raised_at_once(tmp_path):
    attempts = []

    def read():
        attempts.append(True)
        raise DataError("damaged")

    with pytest.raises(DataError, match="damaged"):
        read_unchanged(tmp_path, read)
    assert len(attempts) == 1

import hashlib
import json
import socket

import pytest

from warmstart.data.sources.download import download
from warmstart.data.sources.source import RemoteFile
from warmstart.errors import DataError

CONTENT = bytes(range(256)) * 1000
FILE = RemoteFile("https://files.example.org/sets/data.bin", "data.bin")


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def test_a_file_is_downloaded_once_and_its_progress_is_told(home, tmp_path):
    home.files["/sets/data.bin"] = CONTENT
    told = []
    path = download(FILE, tmp_path, mirror=home.address, progress=lambda *state: told.append(state))
    assert path.read_bytes() == CONTENT
    assert told[-1] == ("data.bin", len(CONTENT), len(CONTENT))
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert download(FILE, tmp_path, mirror=home.address) == path
    assert len(home.ranges) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checksums.json", "data.bin"]


def test_a_broken_connection_is_resumed_where_it_broke(home, tmp_path):
    home.files["/sets/data.bin"] = CONTENT
    home.break_after = [100_000, 50_000]
    path = download(FILE, tmp_path, mirror=home.address)
    assert path.read_bytes() == CONTENT
    assert home.ranges == ["", "bytes=100000-", "bytes=150000-"]


def test_a_later_call_goes_on_and_a_changed_file_starts_over(home, tmp_path):
    home.files["/sets/data.bin"] = CONTENT
    home.break_after = [1000, 0, 0]
    with pytest.raises(DataError, match=r"the connection broke.*1000 bytes are kept"):
        download(FILE, tmp_path, mirror=home.address)
    assert not (tmp_path / "data.bin").exists()
    home.files["/sets/data.bin"] = CONTENT[::-1]
    assert download(FILE, tmp_path, mirror=home.address).read_bytes() == CONTENT[::-1]
    assert home.ranges[-1] == "bytes=1000-"


def test_a_part_that_is_already_whole_is_fetched_afresh(home, tmp_path):
    home.files["/sets/data.bin"] = CONTENT
    (tmp_path / "data.bin.part").write_bytes(CONTENT)
    (tmp_path / "data.bin.part.etag").write_text(f'"{hashlib.sha256(CONTENT).hexdigest()}"')
    assert download(FILE, tmp_path, mirror=home.address).read_bytes() == CONTENT
    assert home.ranges == [f"bytes={len(CONTENT)}-", ""]


def test_a_published_checksum_is_held_to(home, tmp_path):
    home.files["/sets/data.bin"] = CONTENT
    wrong = RemoteFile(FILE.url, FILE.name, md5=md5(b"other"))
    with pytest.raises(DataError, match=f"md5 {md5(CONTENT)}; its publisher states"):
        download(wrong, tmp_path, mirror=home.address)
    assert list(tmp_path.iterdir()) == []
    right = RemoteFile(FILE.url, FILE.name, md5=md5(CONTENT))
    assert download(right, tmp_path, mirror=home.address).read_bytes() == CONTENT


def test_the_first_checksum_is_recorded_and_held_to(home, tmp_path):
    home.files["/sets/data.bin"] = CONTENT
    path = download(FILE, tmp_path, mirror=home.address)
    recorded = json.loads((tmp_path / "checksums.json").read_text())
    assert recorded == {"data.bin": hashlib.sha256(CONTENT).hexdigest()}
    path.write_bytes(b"damaged")
    with pytest.raises(DataError, match=r"the first download had .*; delete .*data\.bin to"):
        download(FILE, tmp_path, mirror=home.address)
    path.unlink()
    home.files["/sets/data.bin"] = b"another edition"
    with pytest.raises(DataError, match=r"delete .*checksums\.json to accept the new file"):
        download(FILE, tmp_path, mirror=home.address)
    assert not path.exists()


def test_http_errors_and_a_missing_network_are_named(home, tmp_path):
    with pytest.raises(DataError, match=r"/sets/data\.bin: HTTP 404 Not Found"):
        download(FILE, tmp_path, mirror=home.address)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(DataError, match="check the network connection"):
        download(FILE, tmp_path, mirror=f"http://127.0.0.1:{port}")

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from tests.lm.conftest import TEXTS
from warmstart.lm import TextEncoder
from warmstart.lm.cache import VectorCache, cache_folder

VECTORS = np.random.default_rng(0).normal(size=(1200, 4)).astype(np.float32)


@pytest.fixture
def cache(tmp_path):
    return VectorCache(tmp_path / "deep" / "vectors.sqlite", 4)


def test_written_vectors_are_read_back(cache):
    keys = [bytes([n // 256, n % 256]) * 16 for n in range(1200)]
    cache.write(keys, VECTORS)
    found = cache.read([*keys, b"absent"])
    assert len(found) == 1200
    assert all(np.array_equal(found[key], VECTORS[n]) for n, key in enumerate(keys))
    assert cache.read([]) == {}


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE vectors SET vector = zeroblob(16)",
        "UPDATE vectors SET vector = x'00'",
        "UPDATE vectors SET checksum = checksum + 1",
    ],
)
def test_a_damaged_row_counts_as_missing_and_can_be_written_again(cache, damage, caplog):
    cache.write([b"one"], VECTORS[:1])
    with sqlite3.connect(cache.file) as db:
        db.execute(damage)
    db.close()
    assert cache.read([b"one"]) == {}
    assert "1 damaged vector" in caplog.text
    cache.write([b"one"], VECTORS[:1])
    np.testing.assert_array_equal(cache.read([b"one"])[b"one"], VECTORS[0])


def test_vectors_swapped_between_texts_are_detected(cache):
    cache.write([b"one", b"two"], VECTORS[:2])
    with sqlite3.connect(cache.file) as db:
        rows = db.execute("SELECT vector, checksum FROM vectors ORDER BY text_hash").fetchall()
        for key, row in zip([b"two", b"one"], rows, strict=True):
            db.execute(
                "UPDATE vectors SET vector = ?, checksum = ? WHERE text_hash = ?", (*row, key)
            )
    db.close()
    assert cache.read([b"one", b"two"]) == {}


def test_a_damaged_file_is_moved_aside_and_rebuilt(lm, caplog):
    encoder = TextEncoder(lm)
    expected = encoder.encode(TEXTS)
    encoder.cache.file.write_bytes(b"this is no database " * 200)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-6)
    assert "is damaged" in caplog.text
    assert encoder.cache.file.with_name(encoder.cache.file.name + ".corrupt").exists()
    caplog.clear()
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-6)
    assert not caplog.text


def test_encoding_works_without_a_usable_cache(lm, tmp_path, caplog):
    (tmp_path / "blocked").write_text("a file where a folder should be")
    encoder = TextEncoder(lm, folder=tmp_path / "blocked")
    assert encoder.encode(TEXTS).any(1).all()
    assert "cannot be used now" in caplog.text


def test_concurrent_writers_lose_nothing(cache):
    def work(worker):
        another = VectorCache(cache.file, 4)
        for n in range(20):
            another.write([bytes([worker, n]) * 16], VECTORS[n : n + 1])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(cache.read([bytes([w, n]) * 16 for w in range(4) for n in range(20)])) == 80


def test_a_killed_writer_leaves_a_readable_cache(tmp_path):
    file = tmp_path / "vectors.sqlite"
    program = textwrap.dedent(
        """
        import sys, numpy as np
        from pathlib import Path
        from warmstart.lm.cache import VectorCache
        cache = VectorCache(Path(sys.argv[1]), 4)
        for n in range(100_000):
            cache.write([n.to_bytes(32, "big")], np.full((1, 4), n, np.float32))
            if n == 20:
                print("twenty", flush=True)
        """
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(file)], stdout=subprocess.PIPE, env=os.environ
    ) as writer:
        assert writer.stdout.readline() == b"twenty\n"
        writer.send_signal(signal.SIGKILL)
    cache = VectorCache(file, 4)
    found = cache.read([n.to_bytes(32, "big") for n in range(21)])
    assert [found[n.to_bytes(32, "big")][0] for n in range(21)] == list(range(21))
    cache.write([b"after"], np.ones((1, 4), np.float32))
    assert b"after" in cache.read([b"after"])


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("WARMSTART_CACHE", str(tmp_path / "chosen"))
    assert cache_folder() == tmp_path / "chosen"
    monkeypatch.delenv("WARMSTART_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "warmstart"
    monkeypatch.setattr(sys, "platform", "darwin")
    assert cache_folder().parts[-3:] == ("Library", "Caches", "warmstart")

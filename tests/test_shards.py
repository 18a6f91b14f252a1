"""Work that is kept in shards: after any kill, no piece is lost and none is done twice."""

import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import polars as pl
import pytest

from warmstart.errors import ArtefactError
from warmstart.shards import Shards

KEYS = [f"item {number}" for number in range(23)]


class Work:
    """Returns two rows for an odd position, one for an even one; records the positions."""

    def __init__(self):
        self.positions = []

    def __call__(self, positions):
        self.positions += positions.tolist()
        at = np.repeat(positions, 1 + positions % 2)
        return pl.DataFrame({"position": at, "square": at**2, "half": (at / 2).astype(np.float32)})


def unsharded(keys=KEYS, **settings):
    work = Work()
    return Shards(None, "s", **settings).run(keys, work, "items"), work


def test_everything_comes_out_once_and_in_order(tmp_path):
    found, work = unsharded(size=4)
    assert work.positions == list(range(23))
    assert found["position"].to_list() == np.repeat(np.arange(23), 1 + np.arange(23) % 2).tolist()
    kept = Shards(tmp_path, "s", size=4).run(KEYS, Work(), "items")
    assert kept.equals(found)


def test_finished_pieces_are_skipped_at_any_position(tmp_path):
    Shards(tmp_path, "s", size=4).run(KEYS, Work(), "items")
    keys = ["new", *reversed(KEYS[3:]), "newer"]
    work = Work()
    found = Shards(tmp_path, "s", size=4).run(keys, work, "items")
    assert work.positions == [0, len(keys) - 1]
    old = found.filter(pl.col("position").is_between(1, len(keys) - 2))
    numbers = [int(keys[position].split()[1]) for position in old["position"]]
    assert old["square"].to_list() == [number**2 for number in numbers]
    again = Work()
    Shards(tmp_path, "s", size=4).run(keys, again, "items")
    assert again.positions == []


def test_shards_without_manifest_or_damaged_are_done_again(tmp_path):
    expected = Shards(tmp_path, "s", size=4).run(KEYS, Work(), "items")
    lost, damaged = sorted(tmp_path.glob("*.json"))[:2]
    pieces = json.loads(lost.read_text())["keys"] + json.loads(damaged.read_text())["keys"]
    lost.unlink()
    damaged.with_suffix(".parquet").write_bytes(b"PAR1")
    work = Work()
    found = Shards(tmp_path, "s", size=4).run(KEYS, work, "items")
    assert sorted(KEYS[position] for position in work.positions) == sorted(pieces)
    assert found.equals(expected)


def test_other_settings_and_foreign_manifests_are_refused(tmp_path):
    Shards(tmp_path, "s").run(KEYS, Work(), "items")
    with pytest.raises(ArtefactError, match="another model or other settings"):
        Shards(tmp_path, "t")
    (tmp_path / "shard-x.json").write_text("[]")
    with pytest.raises(ArtefactError, match=r"shard-x\.json is not the manifest"):
        Shards(tmp_path, "s")


def test_an_error_in_the_work_keeps_finished_shards(tmp_path):
    def breaks(positions):
        if 9 in positions:
            raise KeyboardInterrupt
        return Work()(positions)

    with pytest.raises(KeyboardInterrupt):
        Shards(tmp_path, "s", size=4).run(KEYS, breaks, "items")
    work = Work()
    found = Shards(tmp_path, "s", size=4).run(KEYS, work, "items")
    assert work.positions == list(range(8, 23))
    assert found.equals(unsharded(size=4)[0])


def test_no_pieces_give_an_empty_frame(tmp_path):
    found = Shards(tmp_path, "s").run([], Work(), "items")
    assert found.columns == ["position", "square", "half"]
    assert len(found) == 0


SLOW = """
import sys, time
from pathlib import Path
import polars as pl, numpy as np
from warmstart.shards import Shards

def work(positions):
    time.sleep(0.03)
    with Path(sys.argv[2]).open("a") as log:
        log.write("".join(f"{position}\\n" for position in positions))
    return pl.DataFrame({"position": positions, "square": positions**2})

print("ready", flush=True)
found = Shards(Path(sys.argv[1]), "s", size=5).run([str(n) for n in range(200)], work, "items")
found.write_parquet(sys.argv[3])
"""


def test_ten_random_kills_do_not_change_the_result(tmp_path):
    script = tmp_path / "slow.py"
    script.write_text(SLOW)
    rng, kills = random.Random(0), 0
    command = [sys.executable, str(script), *(str(tmp_path / n) for n in ("shards", "log", "out"))]
    while True:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        process.stdout.readline()
        if kills < 10:
            time.sleep(rng.uniform(0, 0.12))
            kills += process.poll() is None
            process.send_signal(signal.SIGKILL)
        process.communicate()
        if process.returncode == 0:
            break
    assert kills == 10
    found = pl.read_parquet(tmp_path / "out")
    assert found["square"].to_list() == [number**2 for number in range(200)]
    # Each kill repeats at most the current shard.
    done = (tmp_path / "log").read_text().split()
    assert len(done) <= 200 + 10 * 5

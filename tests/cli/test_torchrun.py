"""``torchrun -m warmstart fit``: two processes share the tuning, and one of them saves."""

import subprocess
import sys

import numpy as np
import pytest

from warmstart.cli import main
from warmstart.data.sources.synthetic import synthetic
from warmstart.data.splits.files import save_split
from warmstart.data.splits.random_cold import random_cold
from warmstart.methods import load_model
from warmstart.testing.tiny_lm import tiny_encoder

_SECONDS = 300
SETTINGS = {
    "backbone.epochs": 3,
    "width": 8,
    "lm_tuning": "lora",
    "lora.rank": 2,
    "lora.dropout": 0.0,
    "shard_lm": "true",
    "epochs": 2,
    "learning_rate": 0.001,
    "token_learning_rate": 0.01,
    "table_optimiser": "row-wise",
    "ridge": "none",
    "users_per_item": 10,
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory):
    root = tmp_path_factory.mktemp("shop")
    data = synthetic(60, 80, rng=np.random.default_rng(3))
    save_split(random_cold(data, seed=0), root / "split")
    words = {word for text in data.catalogue.texts for word in text.split()}
    tiny_encoder(root / "lm", sorted(words))
    return root


def arguments(shop, out):
    words = ["fit", str(shop / "split"), "--method", "filterllm", "--encoder", str(shop / "lm")]
    words += ["--out", str(shop / out), "--run", str(shop / f"run-{out}")]
    for name, value in SETTINGS.items():
        words += ["--set", f"{name}={value}"]
    return words


def test_two_processes_save_the_model_that_one_makes(shop, monkeypatch):
    monkeypatch.setenv("WARMSTART_CACHE", str(shop / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    with pytest.raises(SystemExit) as ended:
        main(arguments(shop, "one"))
    assert ended.value.code == 0
    # "--": else torchrun takes --run for an option of its own.
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "--"]
    done = subprocess.run(
        [sys.executable, *torchrun, "warmstart", *arguments(shop, "two")],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines().count(str(shop / "two")) == 1
    one, two = (load_model(shop / name)._state() for name in ("one", "two"))
    assert one.keys() == two.keys()
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, atol=1e-4, rtol=1e-4, err_msg=name)

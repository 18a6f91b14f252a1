"""What happens in other processes: forked ones raise and never hang, spawned ones work."""

import multiprocessing
import os
import subprocess
import sys

import pytest

from warmstart.data.readers.files import read_dataset
from warmstart.data.readers.frames import from_frames
from warmstart.data.splits.files import load_split, save_split
from warmstart.errors import UnsupportedError
from warmstart.evaluation.evaluate import evaluate
from warmstart.methods import load_model
from warmstart.methods.popular import Popular
from warmstart.methods.text_ridge import TextRidge
from warmstart.testing.world import checkerboard, world_encoder

_SECONDS = 60  # a hang is told from work by this; raising takes milliseconds


@pytest.fixture(scope="module")
def used(tmp_path_factory):
    """Everything that a worker could have been given, used once in this process."""
    folder = tmp_path_factory.mktemp("used")
    world = checkerboard()
    lm = world_encoder(folder)
    model = TextRidge().fit(world.data, lm=lm)
    model.save(folder / "model")
    save_split(world.split, folder / "split")
    (folder / "data").mkdir()
    (folder / "data/interactions.csv").write_text("user,item\nu,i\n")
    read_dataset(folder / "data")
    return folder, world, lm, model


def name_of(world):
    return world.data.user_ids.take(world.active_users)[0]


WORK = {
    "recommend": lambda folder, world, lm, model: model.recommend([name_of(world)], 2),
    "add_items": lambda folder, world, lm, model: model.add_items(world.new_items()),
    "simulate": lambda folder, world, lm, model: model.simulate(world.new_items(), 2),
    "fit": lambda folder, world, lm, model: Popular().fit(world.data),
    "save": lambda folder, world, lm, model: model.save(folder / "model"),
    "load_model": lambda folder, world, lm, model: load_model(folder / "model"),
    "read_dataset": lambda folder, world, lm, model: read_dataset(folder / "data"),
    "from_frames": lambda folder, world, lm, model: from_frames({"user": ["u"], "item": ["i"]}),
    "load_split": lambda folder, world, lm, model: load_split(folder / "split"),
    "save_split": lambda folder, world, lm, model: save_split(world.split, folder / "split"),
    "evaluate": lambda folder, world, lm, model: evaluate(model, world.split),
    "encode": lambda folder, world, lm, model: lm.encode(["never encoded before"]),
}


def _work(name, used, queue):
    try:
        WORK[name](*used)
    except UnsupportedError as error:
        queue.put(str(error))
    else:
        queue.put("it worked")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.parametrize("name", WORK)
def test_a_forked_worker_raises_and_never_hangs(name, used):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    worker = context.Process(target=_work, args=(name, used, queue))
    worker.start()
    worker.join(_SECONDS)
    hangs = worker.is_alive()
    worker.kill()
    assert not hangs, f"{name} hangs in a forked process"
    assert "load models and data inside the worker, or start workers by spawn" in queue.get()


def _recommend(model, users):
    return model.recommend(users, 3).rows()


def test_a_spawned_worker_takes_a_fitted_model_with_its_language_model(used):
    _, world, _, model = used
    users = world.data.user_ids.take(world.active_users)[:4]
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_recommend, (model, users)) == model.recommend(users, 3).rows()
        added = pool.apply(_add, (model, world.new_items()))
    assert added == world.new_items().item_ids.values


def _add(model, items):
    return model.add_items(items)["item"].to_list()


def test_a_fork_before_first_use_works():
    code = """
import os, warmstart as ws
frames = {"user": ["u", "u", "v"], "item": ["a", "b", "a"]}
if child := os.fork():
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
ws.Popular().fit(ws.from_frames(frames)).recommend(["v"], 1)
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=_SECONDS)

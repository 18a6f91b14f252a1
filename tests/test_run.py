"""Timings and folders of the stages of a run."""

import ast
import json
import re
from pathlib import Path

import numpy as np
import pytest

from warmstart import run as run_module
from warmstart.backbones.bpr import BprConfig
from warmstart.run import Run, stage_key


@pytest.fixture
def clock(monkeypatch):
    """Replaces the clock of ``warmstart.run`` by one that the test advances."""

    class Clock:
        now = 100.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(run_module, "time", clock)
    return clock


def test_stages_are_timed_in_order_and_repeated_ones_add_up(clock):
    run = Run()
    for name, seconds in (("encode", 2.0), ("train", 5.0), ("encode", 1.5)):
        with run.stage(name):
            clock.now += seconds
    assert run.seconds == {"encode": 3.5, "train": 5.0}
    assert list(run.seconds) == ["encode", "train"]


def test_only_stages_with_a_key_in_a_run_folder_have_a_folder(tmp_path):
    with Run().stage("train", "0" * 64) as folder:
        assert folder is None
    with Run(tmp_path).stage("train") as folder:
        assert folder is None
    assert list(tmp_path.iterdir()) == []
    with Run(tmp_path).stage("train", "abc123" * 10) as folder:
        assert folder is not None
        assert folder.parent == tmp_path
    with Run(tmp_path).stage("train", "another" * 10) as other:
        assert other != folder


def test_a_run_folder_may_be_given_as_a_string(tmp_path):
    with Run(str(tmp_path)).stage("a", "key") as folder:
        assert folder is not None
        assert folder.parent == tmp_path


def test_checkpoints_of_other_code_are_not_used(tmp_path, monkeypatch):
    def folder_of_stage():
        with Run(tmp_path).stage("train", "key", code="warmstart.backbones.fit") as folder:
            return folder

    first = folder_of_stage()
    assert folder_of_stage() == first
    monkeypatch.setattr(run_module, "code_hash", lambda roots: f"edited {roots}")
    assert folder_of_stage() != first


def test_the_code_of_every_resumable_stage_is_part_of_its_key():
    source = Path(run_module.__file__).parent
    calls = [
        ast.unparse(node)
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and len(node.args) > 1
        and ast.unparse(node.func).endswith(("run.stage", "train_stage"))
    ]
    assert len(calls) >= 7
    passed_on = "run.stage(name, key, code=code)"  # by train_stage
    without = [call for call in calls if not call.endswith("code=__name__)")]
    assert without == [passed_on]


PARTS = [
    ("a", 1, None),
    ("a", "1", None),
    ("a", 1.0, None),
    ("a", True, None),
    ("a", 1, "None"),
    ("a", 1),
    (1, "a", None),
    ("a1", None),
    (np.zeros(4, np.float32),),
    (np.zeros((2, 2), np.float32),),
    (np.zeros(4, np.int32),),
    (np.zeros(4, np.float32), np.zeros(0, np.float32)),
    (BprConfig(),),
    (BprConfig(width=3),),
    (BprConfig().model_dump_json(),),
]


def test_keys_are_equal_if_and_only_if_all_parts_are():
    keys = [stage_key(parts) for parts in PARTS]
    assert len(set(keys)) == len(keys)
    assert keys == [stage_key(list(parts)) for parts in PARTS]
    strided = np.arange(8, dtype=np.float32)[::2]
    assert stage_key([strided]) == stage_key([strided.copy()])


@pytest.mark.parametrize("part", [object(), ("a",), np.array(["a", None], object), np.int64(3)])
def test_a_part_without_a_lasting_hash_is_refused(part):
    with pytest.raises(TypeError, match="stage_key: got a "):
        stage_key(["a", part])


def test_a_reused_stage_counts_its_original_seconds(tmp_path, clock):
    for seconds in (4.0, 0.1, 3.0):
        run = Run(tmp_path)
        with run.stage("train", "key"):
            clock.now += seconds
        assert run.seconds == {"train": 4.0}
    other = Run(tmp_path)
    with other.stage("train", "other key"):
        clock.now += 1.0
    assert other.seconds == {"train": 1.0}


def test_an_interrupted_attempt_counts_too(tmp_path, clock):
    run = Run(tmp_path)

    def train():
        with run.stage("train", "key"):
            clock.now += 10.0
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train()
    assert run.seconds == {}
    with run.stage("train", "key"):
        clock.now += 2.0
    assert run.seconds == {"train": 12.0}
    (folder,) = tmp_path.iterdir()
    assert [path.name for path in folder.iterdir()] == ["seconds.json"]
    assert json.loads((folder / "seconds.json").read_text()) == {
        "seconds": 12.0,
        "finished": True,
    }


def test_stages_are_logged(caplog, monkeypatch):
    monkeypatch.setattr(run_module.logger, "disabled", False)  # import-linter disables loggers
    caplog.set_level("INFO", "warmstart.run")
    with Run().stage("encode"):
        pass
    assert caplog.messages[0] == "encode: started"
    assert re.fullmatch(r"encode: \d+\.\d\d s", caplog.messages[1])


def test_rows_that_were_computed_are_not_computed_again(tmp_path):
    asked = []

    def compute(some):
        asked.append(some.tolist())
        if len(asked) == 3:
            raise KeyboardInterrupt
        return some[:, None].astype(np.float32) * [1, 2]

    with pytest.raises(KeyboardInterrupt):
        run_module.resumable_rows(compute, 10, tmp_path, at_once=4)
    found = run_module.resumable_rows(compute, 10, tmp_path, at_once=4)
    np.testing.assert_array_equal(found, np.arange(10)[:, None] * [1, 2])
    assert asked == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9], [8, 9]]
    assert run_module.resumable_rows(lambda some: np.zeros((len(some), 2)), 0, None).shape == (0, 2)

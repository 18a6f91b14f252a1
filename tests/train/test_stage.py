"""A training as a stage: its key, resume and reuse."""

import numpy as np
import pytest

from tests.train.test_loop import Regression, Walk
from warmstart.run import Run
from warmstart.train import Schedule, train_stage

ARRAY = np.arange(6, dtype=np.float32)


def train(folder, trainee=None, *, run=None, rng=3, schedule=None, **changes):
    """Train a stage on a trainee that counts its epochs; return trainee and result."""
    trainee = trainee or Walk()
    arguments = {
        "depends_on": ["data", 7, None, ARRAY],
        "validate": lambda: float(next(iter(trainee.state().values())).sum()),
        "validated_on": "slice",
        "code": "warmstart.train.stage",
        **changes,
    }
    result = train_stage(
        run or Run(folder),
        "walk",
        trainee,
        schedule or Schedule(4, keep_start=True),
        np.random.default_rng(rng),
        **arguments,
    )
    return trainee, result


def test_a_finished_stage_is_reused(tmp_path):
    first, result = train(tmp_path)
    run = Run(tmp_path)
    again, same = train(None, run=run)
    assert (first.trained, again.trained) == (4, 0)
    assert (same.best_epoch, same.metric) == (result.best_epoch, result.metric)
    np.testing.assert_array_equal(again.place, first.place)
    (folder,) = tmp_path.iterdir()
    assert folder.name.startswith("walk-")
    assert list(run.seconds) == ["walk"]


@pytest.mark.parametrize(
    "change",
    [
        {"depends_on": ["data", 8, None, ARRAY]},
        {"depends_on": ["data", 7, None, ARRAY + 1]},
        {"depends_on": ["data", 7, None]},
        {"validated_on": "other slice"},
        {"validate": None, "validated_on": None},
        {"schedule": Schedule(4)},
        {"rng": 4},
        {"code": "warmstart.train.loop"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_stage_that_depends_on_something_else_is_trained_anew(change, tmp_path):
    train(tmp_path)
    other, _ = train(tmp_path, **change)
    assert other.trained == 4
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("kind", [Walk, Regression])
@pytest.mark.parametrize("die_in", [1, 3])
def test_an_interrupted_stage_resumes_to_the_same_end(kind, die_in, tmp_path):
    expected, result = train(None, kind())
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path, kind(die_in=die_in))
    again, resumed = train(tmp_path, kind())
    assert (resumed.best_epoch, resumed.metric) == (result.best_epoch, result.metric)
    for name, array in expected.state().items():
        np.testing.assert_array_equal(again.state()[name], array)


@pytest.mark.parametrize("given", [{"validate": None}, {"validated_on": None}])
def test_validation_needs_to_say_on_what(given):
    with pytest.raises(AssertionError, match="both or neither"):
        train(None, **given)

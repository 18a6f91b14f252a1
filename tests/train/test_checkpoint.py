"""Checkpoints restore exactly the arrays that were written."""

import numpy as np
import pytest

from warmstart.train.checkpoint import Checkpoint, read_checkpoint, write_checkpoint


@pytest.mark.parametrize(
    "array",
    [
        np.array(1.5, np.float32),
        np.zeros((0, 3)),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12)[::3],
    ],
    ids=["scalar", "empty", "column-major", "strided"],
)
def test_arrays_of_any_layout_are_restored(array, tmp_path):
    at = Checkpoint([{"epoch": 1}], 1, 0.5, {"best": array}, {"now": array}, {"moment": array})
    write_checkpoint(tmp_path, "settings", at)
    found = read_checkpoint(tmp_path, "settings")
    assert found is not None
    for again in (found.best_state["best"], found.state["now"], found.optimiser["moment"]):
        np.testing.assert_array_equal(again, array)
        assert (again.shape, again.dtype) == (array.shape, array.dtype)
    assert (found.history, found.best_epoch, found.best_metric) == ([{"epoch": 1}], 1, 0.5)

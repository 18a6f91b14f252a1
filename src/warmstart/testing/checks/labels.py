"""Checks of methods that predict labels, on ratings whose probabilities are known.

They run on methods with the ability ``Predicts``.
"""

import numpy as np

from warmstart.abilities import Predicts, require
from warmstart.core import Recommender
from warmstart.data.tasks import LabelTask
from warmstart.errors import DataError
from warmstart.evaluation.labels import auc, expected_calibration_error, log_loss
from warmstart.testing.case import Case
from warmstart.testing.checks.shared import assert_close, for_ability, raises, refits

# Allowances over the ideal values: 640 test pairs, and what a method must learn from 1920 ratings.
_AUC = 0.1
_LOG_LOSS = 0.2
_MAX_CALIBRATION_ERROR = 0.12
_CHANCE = 0.12  # allowed distance of an AUC from 0.5 where there is nothing to learn


@refits
@for_ability(Predicts, "predict labels")
def labels_are_predicted(case: Case) -> None:
    """AUC, log loss and calibration are close to those of the true probabilities."""
    world = case.fixtures.ratings
    task = world.test
    found = _predict(case.on_ratings, task)
    assert found.dtype == np.float32
    assert found.shape == task.items.shape
    assert ((found >= 0) & (found <= 1)).all()
    area = auc(task.labels, found)
    assert area > world.ideal_auc - _AUC, f"AUC {area:.2f}, the ideal is {world.ideal_auc:.2f}"
    loss, best = log_loss(task.labels, found), world.ideal_log_loss
    assert loss < best + _LOG_LOSS, f"log loss {loss:.2f}, the ideal is {best:.2f}"
    error = expected_calibration_error(task.labels, found)
    assert error < _MAX_CALIBRATION_ERROR, f"calibration error {error:.2f}, too high"


@refits
@for_ability(Predicts, "predict labels")
def labels_that_are_random_are_not_predicted(case: Case) -> None:
    """Fitted on random ratings, a method predicts neither them nor the parities."""
    world = case.fixtures.random_ratings
    task = world.test
    found = _predict(case.fit(world.split.train, world.split.validation()), task)
    for what, truth in (("labels", task.labels), ("parities", world.same_parity(task))):
        area = auc(truth, found)
        assert abs(area - 0.5) < _CHANCE, f"random ratings: the AUC of {what} is {area:.2f}"


@refits
@for_ability(Predicts, "predict labels")
def labels_ignore_later_ratings(case: Case) -> None:
    """Later ratings, in later queries of the same user, do not change an earlier prediction."""
    world = case.fixtures.ratings
    task, other = world.test, world.with_other_test_ratings().test
    np.testing.assert_array_equal(task.labels, ~other.labels)
    first = np.unique(task.groups, return_index=True)[1]
    found, expected = (_predict(case.on_ratings, asked)[first] for asked in (other, task))
    assert_close(found, expected)


@refits
@for_ability(Predicts, "predict labels")
def labels_ignore_the_batch(case: Case) -> None:
    """The prediction of a pair does not depend on the other pairs or on their order."""
    task, rng = case.fixtures.ratings.test, np.random.default_rng(0)
    expected = _predict(case.on_ratings, task)
    order = rng.permutation(len(expected))
    assert_close(_predict(case.on_ratings, task.take(order)), expected[order])
    for row in order[:5]:
        assert_close(_predict(case.on_ratings, task.take(np.array([row]))), expected[[row]])


@refits
@for_ability(Predicts, "predict labels")
def labels_need_one_item_each(case: Case) -> None:
    """Another number of items than of queries is an error that names the method."""
    task = case.fixtures.ratings.test
    model = require(case.on_ratings, Predicts, "predict labels")
    with raises(DataError, case.cls.name, "one item for each query"):
        model.predict_proba(task.queries, task.items[:-1])


def _predict(model: Recommender, task: LabelTask) -> np.ndarray:
    return require(model, Predicts, "predict labels").predict_proba(task.queries, task.items)

"""Measure predicted labels: AUC, AUC within users, log loss and calibration."""

import numpy as np

from warmstart.abilities import Predicts
from warmstart.core import Recommender
from warmstart.data.tasks import LabelTask
from warmstart.errors import ConfigError, UnsupportedError
from warmstart.evaluation.labels import (
    auc_interval,
    expected_calibration_error,
    log_losses,
    user_auc,
)
from warmstart.evaluation.significance import Interval
from warmstart.evaluation.slice_result import SliceFacts, SliceResult
from warmstart.rank import Scorer

LABEL_METRICS = ("auc", "uauc", "log_loss", "ece")


def label_result(
    model: Scorer | Recommender,
    name: str,
    task: LabelTask,
    metrics: tuple[str, ...],
    n_users: int,
) -> SliceResult:
    """Predict the labels of a task and measure the probabilities.

    Units are users. ``uauc`` is the mean AUC of users with both labels, each with the same weight;
    ``log_loss`` weighs a user by the number of pairs, so it is the mean over pairs. ``auc`` and
    ``ece`` are over all pairs and no means over users; their intervals resample users, or are the
    value itself for ``ece``.

    Raises:
        ConfigError: a metric is not one of labels.
        UnsupportedError: the model does not predict probabilities.
    """
    unknown = [metric for metric in metrics if metric not in LABEL_METRICS]
    if unknown:
        raise ConfigError(f"metric {unknown[0]!r} is unknown; allowed: {', '.join(LABEL_METRICS)}")
    if not isinstance(model, Predicts):
        raise UnsupportedError(f"{model.name} cannot predict labels: it ranks items only")
    predicted = model.predict_proba(task.queries, task.items)
    users, rows, pairs = np.unique(task.groups, return_inverse=True, return_counts=True)
    values, weights, statistics = {}, {}, {}
    for metric in metrics:
        if metric == "auc":
            statistics[metric] = auc_interval(task.labels, predicted, task.groups)
        elif metric == "ece":
            error = expected_calibration_error(task.labels, predicted)
            statistics[metric] = Interval(error, error, error)
        elif metric == "log_loss":
            losses = log_losses(task.labels, predicted)
            values[metric] = np.bincount(rows, weights=losses) / pairs
            weights[metric] = pairs.astype(np.float64)
        else:
            found = user_auc(task.labels, predicted, task.groups)
            at = np.searchsorted(users, found.users)
            values[metric], weights[metric] = np.zeros(len(users)), np.zeros(len(users))
            values[metric][at], weights[metric][at] = found.values, 1.0
    return SliceResult(
        name=name,
        users=users.astype(np.int32),
        n_relevant=pairs.astype(np.int64),
        values=values,
        unit_weights=weights,
        statistics=statistics,
        facts=SliceFacts(
            users=len(users),
            user_share=len(users) / n_users,
            answered=1.0,
            candidates=0,
            pairs=len(task.items),
            masked_pairs=0,
            scored=float(np.isfinite(predicted).mean()),
            short_lists=0,
            tie_share=0.0,
            k=0,
            queries=len(task.queries),
        ),
        exposure=None,
        user_strata=(),
        item_strata=(),
    )

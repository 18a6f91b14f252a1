"""Splits by time: items that appear after the end of training are cold."""

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.splits.cold import ColdSplit
from warmstart.data.splits.cutoffs import (
    FRACTIONS,
    Times,
    appearance,
    common_times,
    cutoffs_of,
    tied_fraction,
)
from warmstart.data.splits.parts import build_split
from warmstart.process import check_process


def time_cold(
    dataset: Dataset,
    *,
    cutoffs: Times | None = None,
    fractions: tuple[float, float] = FRACTIONS,
) -> ColdSplit:
    """Split by time: train < t1 <= validation < t2 <= test.

    An item is warm if it has a training interaction. Any other item appears at its first
    interaction or, if it has none, at its release if that is known; it is cold in the window in
    which it appears. An item that appears in the validation window is not a candidate on test,
    neither warm nor cold, so its test interactions are left out. Held-out interactions of users
    without training interactions are left out too. ``manifest["left_out"]`` counts both.

    Args:
        dataset: a data set with unix times.
        cutoffs: t1 and t2, or only t1; then t2 is the time at which half of the later interactions
            have happened. A time may have any form that data may have, such as unix seconds or
            ISO 8601.
        fractions: if ``cutoffs`` is None: the fractions of the interactions, in order of time, that
            come before t1 and before t2. Interactions in the same second stay together.

    Raises:
        ConfigError: cutoffs or fractions are not as above, or out of order.
        DataError: the data have no times on a common clock, or a part would be empty.
        UnsupportedError: this process was forked from one that had used warmstart.
    """
    check_process()
    events = dataset.interactions
    times = common_times(dataset, "time-cold", "random-cold")
    first_cut, second_cut = cutoffs_of(times, cutoffs, fractions)
    train, test = times < first_cut, times >= second_cut
    valid = ~train & ~test
    warm_item = np.isin(np.arange(dataset.n_items), events.items[train])
    appears = appearance(dataset, times)
    cold_in_valid = ~warm_item & (appears >= first_cut) & (appears < second_cut)
    cold_in_test = ~warm_item & (appears >= second_cut) & (appears <= times.max())
    cold = cold_in_valid | cold_in_test
    known = np.isin(events.users, events.users[train])
    stale = test & known & cold_in_valid[events.items]
    parts = {
        "train": train,
        "warm_valid": valid & known & warm_item[events.items],
        "warm_test": test & known & warm_item[events.items],
        "cold_valid": valid & known & cold_in_valid[events.items],
        "cold_test": test & known & cold_in_test[events.items],
    }
    manifest = {
        "cutoffs": [first_cut, second_cut],
        "left_out": {
            "of_users_without_training": int((~known).sum()),
            "at_test_of_items_new_in_validation": int(stale.sum()),
        },
        "notes": {
            "users_without_training_left_out": len(np.unique(events.users[~known])),
            "items_new_in_validation_no_candidates_at_test": int(cold_in_valid.sum()),
            "items_never_interacted_no_candidates": int((~dataset.warm & ~cold).sum()),
            "share_of_interactions_at_a_second_the_user_has_already": tied_fraction(
                events.users, times
            ),
        },
    }
    candidates = {"valid": np.flatnonzero(cold_in_valid), "test": np.flatnonzero(cold_in_test)}
    return build_split(dataset, "time-cold", parts, candidates, manifest)

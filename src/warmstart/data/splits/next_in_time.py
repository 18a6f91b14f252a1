"""Next items by global time: train < t1 <= validation < t2 <= test, for all users alike."""

from typing import Literal, TypeAlias

import numpy as np

from warmstart.data.dataset import Dataset
from warmstart.data.splits.base import Part
from warmstart.data.splits.cutoffs import (
    FRACTIONS,
    Times,
    appearance,
    common_times,
    cutoffs_of,
    tied_fraction,
)
from warmstart.data.splits.event_parts import DrawnParts, places_in_history
from warmstart.data.splits.part_codes import HISTORY, LEFT_OUT, TEST, TRAIN, VALID

Targets: TypeAlias = Literal["first", "each"]


def next_in_time(
    dataset: Dataset,
    cutoffs: Times | None,
    fractions: tuple[float, float] | None,
    targets: Targets,
) -> DrawnParts:
    """Draw the parts of ``next_item`` by time; see there."""
    events = dataset.interactions
    times = common_times(dataset, "next-item by time", "next-item by last")
    first_cut, second_cut = cutoffs_of(times, cutoffs, fractions or FRACTIONS)
    train, test = times < first_cut, times >= second_cut
    valid = ~train & ~test
    warm = np.isin(np.arange(dataset.n_items), events.items[train])
    appears = appearance(dataset, times)
    new_in_valid = ~warm & (appears >= first_cut) & (appears < second_cut)
    new_in_test = ~warm & (appears >= second_cut) & (appears <= times.max())

    places, _ = places_in_history(events, dataset.n_users)
    has_history = places > 0
    rankable = np.where(
        valid, (warm | new_in_valid)[events.items], (warm | new_in_test)[events.items]
    )
    wanted = valid | test
    if targets == "first":
        wanted = _first(events.users, valid) | _first(events.users, test)
    asked = wanted & has_history & rankable
    parts = np.full(len(events), HISTORY, np.int8)
    parts[train], parts[valid & asked], parts[test & asked] = TRAIN, VALID, TEST
    left_out: dict[str, int] = {}
    if targets == "first":  # nothing after the first event of the test window is known to a query
        parts[test & ~asked] = LEFT_OUT
        left_out = {
            "at_test_after_the_first_of_the_user": int((test & ~wanted).sum()),
            "at_test_of_users_without_history": int((test & wanted & ~has_history).sum()),
            "at_test_of_items_new_in_validation": int(
                (test & wanted & has_history & ~rankable).sum()
            ),
        }
    cold: dict[Part, np.ndarray] = {
        "valid": np.flatnonzero(new_in_valid).astype(np.int32),
        "test": np.flatnonzero(new_in_test).astype(np.int32),
    }
    manifest = {
        "cutoffs": [first_cut, second_cut],
        "targets": targets,
        "left_out": left_out,
        "notes": {
            "first_interactions_of_users_not_asked_for": int((wanted & ~has_history).sum()),
            "items_new_in_validation_no_candidates_at_test": int(new_in_valid.sum()),
            "share_of_interactions_at_a_second_the_user_has_already": tied_fraction(
                events.users, times
            ),
        },
    }
    return DrawnParts(parts, manifest, cold)


def _first(users: np.ndarray, window: np.ndarray) -> np.ndarray:
    """Whether each event is its user's first one in the window: bool, shape (events,)."""
    rows = np.flatnonzero(window)
    _, first = np.unique(users[rows], return_index=True)
    found = np.zeros(len(users), bool)
    found[rows[first]] = True
    return found

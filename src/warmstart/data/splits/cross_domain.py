"""Two data sets in one: models learn from the first and are asked about the other.

The items of the other domain have texts, and no interaction in training; its users are asked for by
their histories there.
"""

from dataclasses import replace

import numpy as np

from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.ids import Ids
from warmstart.data.interactions import Interactions
from warmstart.data.splits.base import Part
from warmstart.data.splits.event_parts import DrawnParts, places_in_history
from warmstart.data.splits.part_codes import HISTORY, LEFT_OUT, TEST, TRAIN, VALID
from warmstart.errors import ConfigError, DataError

SHORTEST = 2
"""Fewest interactions of a user of the other domain who is asked: a history and a target."""


def joined(source: Dataset, other: Dataset) -> Dataset:
    """Put the users, items and interactions of another data set after those of the first.

    Ids are made distinct by the names of the data sets: "beauty/17". Columns of items that only the
    other data set has, ratings and dialogues are left out.

    Raises:
        ConfigError: both have the same name.
        DataError: one of them has neither times nor positions.
    """
    if source.name == other.name:
        raise ConfigError(
            f"next-item: cross_domain is the same data set, {source.name!r}; allowed: another one"
        )
    for data in (source, other):
        if data.interactions.times is None:
            raise DataError(f"{data.name} has neither times nor positions; cross_domain needs them")
    first, then = source.interactions, other.interactions
    assert first.times is not None
    assert then.times is not None
    catalogue = _renamed(source).extended(_renamed(other))
    users = [f"{data.name}/{user}" for data in (source, other) for user in data.user_ids.values]
    events = Interactions.from_arrays(
        np.concatenate([first.users, then.users + source.n_users]),
        np.concatenate([first.items, then.items + source.n_items]),
        times=np.concatenate([first.times, then.times]),
    )
    return Dataset(
        f"{source.name} to {other.name}",
        Ids(users, "user"),
        catalogue,
        events,
        clock="unix" if source.clock == other.clock == "unix" else "position",
    )


def cross_domain_parts(data: Dataset, n_users: int, n_items: int) -> DrawnParts:
    """Draw the parts of joined data sets.

    In the first domain, each user's last interaction is validation, the others training. In the
    other one, each user's last interaction is the test, the others are the history before it.

    Args:
        data: from ``joined``.
        n_users: number of users of the first domain, who stand first.
        n_items: number of its items.
    """
    events = data.interactions
    places, lengths = places_in_history(events, data.n_users)
    is_last, is_source = places == lengths - 1, events.users < n_users
    parts = np.where(is_source, TRAIN, HISTORY).astype(np.int8)
    parts[is_source & is_last & (lengths >= SHORTEST)] = VALID
    parts[~is_source & is_last] = TEST
    short = ~is_source & (lengths < SHORTEST)
    parts[short] = LEFT_OUT
    nothing = np.zeros(0, np.int32)
    cold: dict[Part, np.ndarray] = {
        "valid": nothing,
        "test": np.arange(n_items, data.n_items, dtype=np.int32),
    }
    untrained = (parts == VALID) & ~np.isin(events.items, events.items[parts == TRAIN])
    parts[untrained] = HISTORY
    left_out = {"of_single_interactions_of_the_other_domain": int(short.sum())}
    notes = {"validation_queries_for_items_that_are_no_candidates": int(untrained.sum())}
    return DrawnParts(parts, {"left_out": left_out, "notes": notes}, cold)


def _renamed(data: Dataset) -> Catalogue:
    ids = [f"{data.name}/{item}" for item in data.catalogue.item_ids.values]
    return replace(data.catalogue, item_ids=Ids(ids, "item"))

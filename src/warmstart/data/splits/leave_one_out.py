"""Leave-one-out: the last interaction of each user is the test, the one before it validation."""

import numpy as np

from warmstart.arguments import whole_number
from warmstart.data.dataset import Dataset
from warmstart.data.splits.base import Part
from warmstart.data.splits.event_parts import DrawnParts, places_in_history
from warmstart.data.splits.part_codes import HISTORY, LEFT_OUT, TEST, TRAIN, VALID
from warmstart.errors import ConfigError, DataError

SHORTEST = 3
"""Fewest interactions of a user with held-out ones: one for each part."""


def leave_one_out(
    dataset: Dataset,
    cold_items: float | None,
    cold_users: int | None,
    few_shot: int | None,
    rng: np.random.Generator,
) -> DrawnParts:
    """Draw the parts of ``next_item`` by the last interactions; see there."""
    events = dataset.interactions
    if events.times is None:
        raise DataError(
            f"{dataset.name} has neither times nor positions; next-item needs the order of each "
            "user's interactions; use user-random"
        )
    places, lengths = places_in_history(events, dataset.n_users)
    asks = lengths >= SHORTEST
    parts = np.full(len(events), TRAIN, np.int8)
    parts[asks & (places == lengths - 2)] = VALID
    parts[asks & (places == lengths - 1)] = TEST
    notes = {"users_with_fewer_than_3_interactions": len(np.unique(events.users[~asks]))}
    drawn = DrawnParts(parts, {"left_out": {}, "notes": notes})
    if few_shot is not None:
        return _few_users(dataset, drawn, asks, few_shot, rng)
    if cold_users is not None:
        return _without_short_histories(drawn, asks, lengths, cold_users)
    if cold_items is not None:
        return _without_cold_items(dataset, drawn, cold_items, rng)
    return drawn


def _few_users(
    dataset: Dataset, drawn: DrawnParts, asks: np.ndarray, few_shot: int, rng: np.random.Generator
) -> DrawnParts:
    """Train and validate on some users only; the others are asked for by history, on test."""
    events, parts = dataset.interactions, drawn.parts
    users = np.unique(events.users[asks])
    few_shot = whole_number("next-item", "few_shot", few_shot, low=1, high=len(users))
    other = ~np.isin(events.users, rng.choice(users, few_shot, replace=False))
    parts[other & asks & (parts != TEST)] = HISTORY
    parts[other & ~asks] = LEFT_OUT
    drawn.manifest["left_out"]["of_short_histories"] = int((other & ~asks).sum())
    return drawn


def _without_short_histories(
    drawn: DrawnParts, asks: np.ndarray, lengths: np.ndarray, cold_users: int
) -> DrawnParts:
    """Withhold the users with short histories from training."""
    cold_users = whole_number("next-item", "cold_users", cold_users, low=SHORTEST)
    short = asks & (lengths <= cold_users)
    if asks.any() and not short.any():
        raise ConfigError(
            f"next-item: cold_users {cold_users}; allowed: a length that some history has, from "
            f"{lengths[asks].min()}"
        )
    drawn.parts[short & (drawn.parts == TRAIN)] = HISTORY
    return drawn


def _without_cold_items(
    dataset: Dataset, drawn: DrawnParts, share: float, rng: np.random.Generator
) -> DrawnParts:
    """Withhold a share of the items from training, half of them for each of the other parts."""
    if not isinstance(share, float) or not 0 < share < 1:
        raise ConfigError(
            f"next-item: cold_items must be a share of the items between 0 and 1, got {share!r}"
        )
    events, parts = dataset.interactions, drawn.parts
    shuffled = rng.permutation(np.flatnonzero(dataset.warm)).astype(np.int32)
    chosen = shuffled[: round(share * len(shuffled))]
    half = len(chosen) // 2
    cold: dict[Part, np.ndarray] = {"valid": np.sort(chosen[:half]), "test": np.sort(chosen[half:])}
    parts[(parts == TRAIN) & np.isin(events.items, chosen)] = HISTORY
    trained = np.unique(events.items[parts == TRAIN])

    def others(code: int, part: Part) -> np.ndarray:
        rankable = np.union1d(trained, cold[part])
        return (parts == code) & ~np.isin(events.items, rankable)

    unasked, stale = others(VALID, "valid"), others(TEST, "test")
    parts[unasked], parts[stale] = HISTORY, LEFT_OUT
    drawn.manifest["left_out"]["at_test_of_items_that_are_no_candidates"] = int(stale.sum())
    drawn.manifest["notes"] |= {
        "cold_items_of_validation": half,
        "cold_items_of_test": len(chosen) - half,
        "validation_queries_for_items_that_are_no_candidates": int(unasked.sum()),
    }
    return DrawnParts(parts, drawn.manifest, cold)

"""The published CiteULike-a split, read from the real files."""

import numpy as np
import pytest

from warmstart.data.readers.files import read_dataset
from warmstart.data.splits.cold import ColdSplit
from warmstart.data.splits.random_cold import random_cold, read_published_split
from warmstart.data.splits.time_cold import time_cold

pytestmark = pytest.mark.reference

PARTS = {  # interactions, users, items
    "train": (132_073, 5_551, 13_584),
    "warm_valid": (16_471, 4_502, 8_484),
    "warm_test": (16_482, 4_591, 8_526),
    "cold_valid": (19_802, 4_801, 1_698),
    "cold_test": (20_158, 4_846, 1_698),
}
SLICES = {  # users, pairs, candidates
    "valid cold": (4_801, 19_802, 3_396),
    "valid warm": (4_502, 16_471, 13_584),
    "valid overall": (3_945, 33_427, 16_980),
    "test cold": (4_846, 20_158, 3_396),
    "test warm": (4_591, 16_482, 13_584),
    "test overall": (4_085, 34_040, 16_980),
}


@pytest.fixture(scope="module")
def split(data_root) -> ColdSplit:
    data = read_dataset(data_root / "citeulike-a")
    return read_published_split(data, data_root / "citeulike-a" / "coldllm_split")


def test_counts_of_the_data(split):
    counts = split.dataset.counts
    assert (counts["interactions"], counts["users"], counts["items"]) == (204_986, 5_551, 16_980)
    assert counts["items_without_text"] == counts["duplicates_merged"] == 0


def test_counts_of_the_published_parts_and_slices(split):
    summary = split.summary()
    assert {k: tuple(v.values()) for k, v in summary["parts"].items()} == PARTS
    counts = ("users", "pairs", "candidates")
    slices = {name: tuple(map(found.get, counts)) for name, found in summary["slices"].items()}
    assert slices == SLICES


def test_the_published_split_comes_out_of_seed_42_pair_by_pair(split):
    drawn = random_cold(split.dataset, seed=42)
    for name, part in split.parts.items():
        assert np.array_equal(drawn.parts[name].keys, part.keys), name
    assert drawn.hash == split.hash


def test_what_mask_all_masks(split):
    cold, warm = split.slice("test", "cold", "all"), split.slice("test", "warm", "all")
    assert (cold.masked[:, cold.candidates] != 0).sum() > 0
    assert split.slice("test", "cold", "train").masked[:, cold.candidates].sum() == 0
    per_user = np.asarray(split.dataset.matrix[warm.queries.users].sum(1)).ravel()
    truth, masked = (np.asarray(m.sum(1)).ravel() for m in (warm.relevance, warm.masked))
    assert np.array_equal(truth + masked, per_user)


def test_movielens_100k_splits_by_time(data_root):
    split = time_cold(read_dataset(data_root / "ml-100k"), fractions=(0.5, 0.75))
    assert split.dataset.counts["ratings_below_positive"] == 44_625
    assert len(split.cold_valid) > 200
    assert split.manifest["left_out"]["of_users_without_training"] == 24_385

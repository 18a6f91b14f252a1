"""The checkerboard: toy data whose ideal ranking is known.

Even users like even items and odd users like odd items, whether the item is warm or cold; nothing
else matters. The text of an item tells its parity ("even pair of six"), so a method can rank cold
items by their texts. Parity does not depend on the row number, and warm and cold items are mixed,
so code that confuses rows, ids and positions fails. One user has no interactions; one warm item and
one cold item have no text.

The same preferences are told in every way that a method may read: users rate some items of the
other parity below the threshold, items have genres, and there are dialogues about warm items.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from warmstart.core import Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.interactions import Interactions
from warmstart.data.ratings import Ratings
from warmstart.data.splits.check import check_split
from warmstart.data.splits.cold import ColdSplit
from warmstart.data.tasks import RankingTask
from warmstart.lm import LMConfig, TextEncoder, load_encoder
from warmstart.rank import Metric
from warmstart.testing.tiny_lm import tiny_encoder
from warmstart.testing.worlds.dialogues import MENTIONS, spoken
from warmstart.testing.worlds.items import (
    EVEN,
    ODD,
    WORDS,
    IdType,
    catalogue_of,
    external_ids,
    genres_of,
    parity_text,
)

_DENSITY = 0.75  # probability that a user has interacted with an item of the same parity
_DISLIKED = 0.25  # probability that a user rated a warm item of the other parity
_HELD_OUT = 0.15  # fraction of the interactions in validation, and again in test
_THRESHOLD = 4.0
_DIALOGUES = 24


@dataclass(frozen=True)
class Checkerboard:
    """The checkerboard with its ideal scores.

    Attributes:
        split: random-cold, with training, validation and test parts.
        id_type: type of the external ids.
        user_parity: 0 even, 1 odd; int64, shape (n_users,).
        item_parity: 0 even, 1 odd; int64, shape (n_items,).
        empty_user: row of the user without interactions.
        textless: rows of the items without text: first the warm item, then the cold one.
    """

    split: ColdSplit
    id_type: IdType
    user_parity: np.ndarray
    item_parity: np.ndarray
    empty_user: int
    textless: tuple[int, int]

    @cached_property
    def data(self) -> Dataset:
        """The training data with dialogues, for ``fit``."""
        parities = np.repeat(np.arange(_DIALOGUES) % 2, MENTIONS).reshape(-1, MENTIONS)
        return self._with_dialogues(self.split.train, parities)

    @property
    def active_users(self) -> np.ndarray:
        """Rows of the users with training interactions, int32."""
        return np.flatnonzero(np.diff(self.data.matrix.indptr)).astype(np.int32)

    @cached_property
    def seen(self) -> np.ndarray:
        """Pairs of training, liked or not: bool, shape (n_users, n_items)."""
        data = self.data
        below = data.below_threshold.matrix(data.n_users, data.n_items)
        return (data.matrix + below).toarray() > 0

    def unscored(self, traits: Traits) -> np.ndarray:
        """Items that a method with these traits cannot score: bool, shape (n_items,).

        These are cold items: all of them, or those without text if it learns from texts.
        """
        cold = ~self.data.warm
        if traits.cold_items == "none":
            return cold
        return cold & ~self.data.catalogue.has_text & ("texts" in traits.reads)

    def ideal_scores(self, users: np.ndarray, items: np.ndarray) -> np.ndarray:
        """1 if user and item have the same parity, else 0; float32, shape (users, items)."""
        same = self.user_parity[users][:, None] == self.item_parity[items][None, :]
        return same.astype(np.float32)

    def new_items(
        self, parities: Sequence[int] = (0, 1), *, first: int = 900, text: str | None = None
    ) -> Catalogue:
        """Make items that are not in the catalogue.

        Args:
            parities: one item for each; 0 even, 1 odd.
            first: number of the first item, from which its id is formed.
            text: text of every item, instead of one that tells its parity.
        """
        rng = np.random.default_rng(first)
        numbers = range(first, first + len(parities))
        texts = [parity_text(parity, rng) if text is None else text for parity in parities]
        genres = [genres_of(*pair) for pair in zip(parities, numbers, strict=True)]
        return catalogue_of(external_ids("item", self.id_type, numbers), texts, genres)

    def with_random_interactions(self, rng: np.random.Generator) -> Dataset:
        """Data from which nothing can be learned, for ``fit``.

        Each user likes and dislikes as many items as before, drawn half from each parity; an odd
        number of disliked ones is rounded down. The dialogues mention items of random parity.
        """
        data = self.data
        warm = [np.flatnonzero(data.warm & (self.item_parity == parity)) for parity in (0, 1)]
        liked, disliked = [], []
        for user in range(data.n_users):
            n_liked = int((data.interactions.users == user).sum())
            n_disliked = int((data.below_threshold.users == user).sum())
            for p, half in enumerate(rng.permutation((n_liked // 2, n_liked - n_liked // 2))):
                drawn = rng.choice(warm[p], half + n_disliked // 2, replace=False)
                liked += [(user, item) for item in drawn[:half]]
                disliked += [(user, item) for item in drawn[half:]]
        positives, below = (Interactions.from_arrays(*np.array(p).T) for p in (liked, disliked))
        control = replace(
            data,
            interactions=positives,
            below_threshold=below,
            ratings=_ratings(positives, below, rng),
        )
        return self._with_dialogues(control, rng.integers(2, size=(_DIALOGUES, MENTIONS)))

    def with_swapped_texts(self) -> Dataset:
        """Data whose texts and genres tell nothing, for ``fit``.

        Half of the even items swap them with odd ones, warm items with warm ones, cold with cold.
        """
        catalogue = self.data.catalogue
        source = np.arange(len(catalogue))
        for side in (self.data.warm, ~self.data.warm):
            rows = [np.flatnonzero(side & (self.item_parity == parity)) for parity in (0, 1)]
            for even, odd in list(zip(*rows, strict=False))[::2]:
                source[even], source[odd] = odd, even
        swapped = replace(
            catalogue,
            texts=tuple(catalogue.texts[row] for row in source),
            columns=catalogue.columns[source],
        )
        split = replace(self.split, dataset=replace(self.split.dataset, catalogue=swapped))
        return replace(self, split=split).data

    def without_test_interactions(self) -> "Checkerboard":
        """The same with empty test parts; the interactions are not in its data set either."""
        split, dataset = self.split, self.split.dataset
        test = np.concatenate([split.warm_test.keys, split.cold_test.keys])
        kept = dataset.interactions.where(~np.isin(dataset.interactions.keys, test))
        empty = kept.where(np.zeros(len(kept), bool))
        assert dataset.ratings is not None
        pairs = dataset.ratings.users.astype(np.int64) << 32 | dataset.ratings.items
        ratings = dataset.ratings.where(~np.isin(pairs, test))
        dataset = replace(dataset, interactions=kept, ratings=ratings)
        split = replace(split, dataset=dataset, warm_test=empty, cold_test=empty)
        return replace(self, split=split)

    def _with_dialogues(self, data: Dataset, parities: np.ndarray) -> Dataset:
        """Add dialogues that mention warm items of the given parities."""
        rows = np.flatnonzero(data.warm & data.catalogue.has_text)
        texts = data.catalogue.texts
        rng = np.random.default_rng(0)
        return replace(data, dialogues=spoken(parities, rows, self.item_parity, texts, rng))


def checkerboard(
    ids: IdType = "str", *, n_users: int = 48, n_warm: int = 48, n_cold: int = 16, seed: int = 0
) -> Checkerboard:
    """Make a checkerboard.

    Args:
        ids: type of the external ids.
        n_users: number of users, including the one without interactions.
        n_warm: number of warm items, including the one without text.
        n_cold: number of cold items with interactions, half in validation and half in test; a
            multiple of 4, so that each half has as many even as odd items. One more cold item has
            neither text nor interactions.
        seed: seed of all random choices.
    """
    rng = np.random.default_rng(seed)
    n_items = n_warm + n_cold + 1
    user_numbers, item_numbers = rng.permutation(n_users), rng.permutation(n_items)
    is_warm = item_numbers < n_warm
    textless = (int(np.argmax(is_warm)), int(np.argmax(item_numbers == n_items - 1)))
    empty_user = n_users // 2
    user_parity, item_parity = user_numbers % 2, item_numbers % 2

    same = user_parity[:, None] == item_parity[None, :]
    liked = same & (rng.random(same.shape) < _DENSITY)
    liked[empty_user] = False
    liked[:, textless[1]] = False
    part = rng.choice(3, liked.shape, p=(1 - 2 * _HELD_OUT, _HELD_OUT, _HELD_OUT))
    part[:, textless[0]] = 0  # only in training: a text method cannot rank it
    part[:, ~is_warm] = (
        1 + (item_numbers[~is_warm] - n_warm) % 4 // 2
    )  # pairs of neighbours: both parities
    train, *held_out = (
        Interactions.from_arrays(*np.nonzero(liked & chosen)) for chosen in _masks(part, is_warm)
    )
    texts = [parity_text(parity, rng) for parity in item_parity]
    for row in textless:
        texts[row] = ""
    disliked = ~same & is_warm & (rng.random(same.shape) < _DISLIKED)
    disliked[empty_user] = False
    positives, below = (Interactions.from_arrays(*np.nonzero(pairs)) for pairs in (liked, disliked))
    genres = [genres_of(*pair) for pair in zip(item_parity, item_numbers, strict=True)]
    dataset = Dataset(
        f"checkerboard-{ids}",
        external_ids("user", ids, user_numbers.tolist()),
        catalogue_of(external_ids("item", ids, item_numbers.tolist()), texts, genres),
        positives,
        below_threshold=below,
        ratings=_ratings(positives, below, rng),
        positive_rating=_THRESHOLD,
    )
    cold = np.flatnonzero(~is_warm & liked.any(axis=0)).astype(np.int32)
    warm_valid, warm_test, cold_valid, cold_test = held_out
    split = ColdSplit(
        dataset=dataset,
        protocol="random-cold",
        train_interactions=train,
        warm_valid=warm_valid,
        warm_test=warm_test,
        cold_valid=cold_valid,
        cold_test=cold_test,
        cold_candidates={"valid": cold, "test": cold},
        overall_users="both",
    )
    check_split(split)
    return Checkerboard(split, ids, user_parity, item_parity, empty_user, textless)


def world_encoder(folder: Path, *, seed: int = 0, knows_words: bool = False) -> TextEncoder:
    """Write a tiny encoder to ``folder`` and load it; its vectors separate even from odd texts.

    Args:
        folder: for the model, and for a cache.
        seed: seed of the random weights.
        knows_words: whether vectors of texts of one parity are similar, as those of a pretrained
            encoder would be. Otherwise a method has to learn what tells the parity.
    """
    similar = (EVEN, ODD) if knows_words else ()
    source = tiny_encoder(folder / "tiny-lm", WORDS, seed=seed, similar=similar)
    return load_encoder(LMConfig(source=str(source), device="cpu"), folder=folder / "cache")


def expected_random_ndcg(task: RankingTask, metric: str) -> float:
    """The expected value of ``ndcg@k`` on a slice for a random ranking.

    Args:
        task: the slice.
        metric: such as "ndcg@10"; only its k is used.
    """
    k = Metric.parse(metric).k
    n_relevant = np.diff(task.relevance.indptr)
    n_candidates = len(task.candidates) - np.diff(task.masked[:, task.candidates].tocsr().indptr)
    discounts = 1 / np.log2(np.arange(2, k + 2))
    ideal_dcg = np.cumsum(discounts)[np.minimum(n_relevant, k) - 1]
    total_discount = np.cumsum(discounts)[np.minimum(n_candidates, k) - 1]
    return float((n_relevant / n_candidates * total_discount / ideal_dcg).mean())


def _masks(part: np.ndarray, is_warm: np.ndarray) -> list[np.ndarray]:
    """Masks over all pairs of train, warm_valid, warm_test, cold_valid and cold_test."""
    return [
        (part == number) & side[None, :]
        for side, numbers in ((is_warm, (0, 1, 2)), (~is_warm, (1, 2)))
        for number in numbers
    ]


def _ratings(positives: Interactions, below: Interactions, rng: np.random.Generator) -> Ratings:
    """Rate positives 4 or 5, the others 1 or 2."""
    users = np.concatenate([positives.users, below.users])
    items = np.concatenate([positives.items, below.items])
    values = np.concatenate([rng.integers(4, 6, len(positives)), rng.integers(1, 3, len(below))])
    order = np.lexsort((items, users))
    return Ratings(users[order], items[order], values[order].astype(np.float32))

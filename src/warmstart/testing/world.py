"""The checkerboard: toy data whose ideal ranking is known.

Even users like even items and odd users like odd items, whether the item is warm or cold; nothing
else matters. The text of an item tells its parity ("even pair of six"), so a method can rank cold
items by their texts. Parity does not depend on the row number, and warm and cold items are mixed,
so code that confuses rows, ids and positions fails. One user has no interactions; one warm item and
one cold item have no text.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import polars as pl

from warmstart.core import Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.ids import ExternalId, Ids
from warmstart.data.interactions import Interactions
from warmstart.data.splits.check import check_split
from warmstart.data.splits.cold import ColdSplit
from warmstart.data.tasks import RankingTask
from warmstart.lm import LMConfig, TextEncoder, load_lm
from warmstart.rank import Metric
from warmstart.testing.tiny_lm import tiny_encoder

EVEN = ("even", "two", "four", "six", "eight", "pair", "couple")
ODD = ("odd", "one", "three", "five", "seven", "single", "lone")
FILLERS = ("a", "the", "of", "book", "story")

_DENSITY = 0.75  # probability that a user has interacted with an item of the same parity
_HELD_OUT = 0.15  # fraction of these interactions in validation, and again in test
_NAMES = {
    "str": {"user": "user {:03d}", "item": "item/{:03d}"},
    "int": {"user": "1{:03d}", "item": "70{:03d}"},
}
IdType: TypeAlias = Literal["str", "int"]


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

    @property
    def data(self) -> Dataset:
        """The training data, for ``fit``."""
        return self.split.train

    @property
    def active_users(self) -> np.ndarray:
        """Rows of the users with training interactions, int32."""
        return np.flatnonzero(np.diff(self.data.matrix.indptr)).astype(np.int32)

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
        texts = [_text(parity, rng) if text is None else text for parity in parities]
        return _catalogue(_ids("item", self.id_type, numbers), texts)

    def with_random_interactions(self, rng: np.random.Generator) -> Dataset:
        """A control: each user has as many training interactions, drawn half from each parity."""
        counts = np.diff(self.data.matrix.indptr)
        warm = [np.flatnonzero(self.data.warm & (self.item_parity == parity)) for parity in (0, 1)]
        items = []
        for count in counts:
            halves = rng.permutation((count // 2, count - count // 2))
            items += [rng.choice(warm[p], half, replace=False) for p, half in enumerate(halves)]
        users = np.repeat(np.arange(len(counts)), counts)
        return self.data.with_interactions(Interactions.from_arrays(users, np.concatenate(items)))

    def with_swapped_texts(self) -> Dataset:
        """A control: half of the even items swap texts with odd ones, warm and cold apart."""
        data = self.data
        texts = list(data.catalogue.texts)
        for side in (data.warm, ~data.warm):
            rows = [np.flatnonzero(side & (self.item_parity == parity)) for parity in (0, 1)]
            for even, odd in list(zip(*rows, strict=False))[::2]:
                texts[even], texts[odd] = texts[odd], texts[even]
        return replace(data, catalogue=_catalogue(data.catalogue.item_ids, texts))

    def without_test_interactions(self) -> ColdSplit:
        """The same split with empty test parts; the interactions are not in its data set either."""
        split = self.split
        test = np.concatenate([split.warm_test.keys, split.cold_test.keys])
        kept = split.dataset.interactions
        kept = kept.where(~np.isin(kept.keys, test))
        empty = kept.where(np.zeros(len(kept), bool))
        dataset = split.dataset.with_interactions(kept)
        return replace(split, dataset=dataset, warm_test=empty, cold_test=empty)


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

    liked = user_parity[:, None] == item_parity[None, :]
    liked &= rng.random(liked.shape) < _DENSITY
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

    texts = [_text(parity, rng) for parity in item_parity]
    for row in textless:
        texts[row] = ""
    dataset = Dataset(
        f"checkerboard-{ids}",
        Ids(_ids("user", ids, user_numbers.tolist()).values, "user"),
        _catalogue(_ids("item", ids, item_numbers.tolist()), texts),
        Interactions.from_arrays(*np.nonzero(liked)),
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


def world_encoder(folder: Path, *, seed: int = 0) -> TextEncoder:
    """Write a tiny encoder to ``folder`` and load it; its vectors separate even from odd texts."""
    source = tiny_encoder(folder / "tiny-lm", (*EVEN, *ODD, *FILLERS), seed=seed)
    return load_lm(LMConfig(source=str(source), device="cpu"), folder=folder / "cache")


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


def _text(parity: int, rng: np.random.Generator) -> str:
    words = rng.choice((EVEN, ODD)[parity], 3, replace=False)
    fillers = rng.choice(FILLERS, 2, replace=False)
    return " ".join(rng.permutation([*words, *fillers]))


def _ids(kind: str, id_type: IdType, numbers: Sequence[int]) -> Ids:
    names = [_NAMES[id_type][kind].format(number) for number in numbers]
    values: list[ExternalId] = [int(name) if id_type == "int" else name for name in names]
    return Ids(values, kind)


def _catalogue(item_ids: Ids, texts: Sequence[str]) -> Catalogue:
    columns = pl.DataFrame({"title": list(texts), "length": [str(len(text)) for text in texts]})
    return Catalogue(item_ids, tuple(texts), None, columns, ("title",))

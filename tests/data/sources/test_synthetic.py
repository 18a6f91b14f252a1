import re

import numpy as np
import pytest
from scipy import sparse

from warmstart.data.dataset import Dataset
from warmstart.data.sources import synthetic, synthetic_items
from warmstart.data.splits.random_cold import random_cold
from warmstart.data.splits.time_cold import time_cold
from warmstart.data.tasks import RankingTask
from warmstart.errors import ConfigError


@pytest.fixture(scope="module")
def data() -> Dataset:
    return synthetic(rng=np.random.default_rng(0))


def test_default_size_and_unique_titles(data):
    assert (data.n_users, data.n_items) == (600, 900)
    assert 12 < len(data.interactions) / 600 < 18
    assert np.bincount(data.interactions.users, minlength=600).min() >= 5
    assert data.counts["duplicates_merged"] == data.counts["items_without_text"] == 0
    assert len(set(data.catalogue.columns["title"])) == 900


def test_equal_generators_give_equal_data(data):
    assert synthetic(rng=np.random.default_rng(0)).hash == data.hash
    assert synthetic(rng=np.random.default_rng(1)).hash != data.hash


def test_nobody_reads_a_book_before_it_is_out(data):
    released = data.catalogue.released
    assert (data.interactions.times >= released[data.interactions.items]).all()


def test_popularity_is_uneven(data):
    reads = np.sort(np.bincount(data.interactions.items, minlength=900))[::-1]
    assert 0.25 < reads[:90].sum() / reads.sum() < 0.5


def bag_of_words(texts: tuple[str, ...]) -> np.ndarray:
    """Unit-length TF-IDF rows, shape (items, words)."""
    words = [set(re.findall(r"[a-z]+", text.lower())) for text in texts]
    vocabulary = {word: column for column, word in enumerate(sorted(set().union(*words)))}
    rows = np.zeros((len(texts), len(vocabulary)))
    for row, found in enumerate(words):
        rows[row, [vocabulary[word] for word in found]] = 1
    rows *= np.log(len(texts) / rows.sum(0))
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def recall_at_20(scores: np.ndarray, task: RankingTask) -> float:
    scores = np.where(task.masked.toarray(), -np.inf, scores)[:, task.candidates]
    top = np.argsort(-scores, axis=1)[:, :20]
    relevant = task.relevance.toarray()[:, task.candidates]
    return float((np.take_along_axis(relevant, top, 1).sum(1) / relevant.sum(1)).mean())


@pytest.mark.parametrize("protocol", [random_cold, time_cold])
def test_text_beats_popularity_clearly_but_not_perfectly_under_both_protocols(data, protocol):
    split = protocol(data)
    rng = np.random.default_rng(0)
    words = bag_of_words(data.catalogue.texts)
    near = words @ words.T
    near[:, ~split.train.warm] = 0
    np.fill_diagonal(near, 0)
    near[near < np.sort(near, axis=1)[:, -30:-29]] = 0
    train: sparse.csr_matrix = split.train.matrix
    for name in ("cold", "warm"):
        task = split.slice("test", name, "train")
        assert len(task.users) > 60
        shape = (len(task.users), data.n_items)
        by_text = train[task.users] @ near.T
        popularity = np.asarray(train.sum(0)).ravel() + rng.random(data.n_items)
        text = recall_at_20(by_text, task)
        popular = recall_at_20(np.tile(popularity, (shape[0], 1)), task)
        assert text > recall_at_20(rng.random(shape), task) + 0.15, name
        assert text > popular + 0.05, name
        assert text < 0.85, name


def test_new_books_are_like_the_old_ones():
    new = synthetic_items(20, rng=np.random.default_rng(5))
    assert new.columns == ["item", "title", "text"]
    assert new["item"].n_unique() == new["title"].n_unique() == 20
    assert new.equals(synthetic_items(20, rng=np.random.default_rng(5)))


def test_many_books_still_have_titles_of_their_own():
    titles = synthetic_items(3000, rng=np.random.default_rng(0))["title"]
    assert titles.n_unique() > 2950


@pytest.mark.parametrize(("users", "items"), [(0, 100), (10, 49)])
def test_too_small_worlds_are_refused(users, items):
    with pytest.raises(ConfigError, match="allowed: at least 1 and 50"):
        synthetic(users, items, rng=np.random.default_rng(0))

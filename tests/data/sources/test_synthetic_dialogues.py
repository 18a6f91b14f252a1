"""The generated dialogues: their parts, and which signals predict what is recommended."""

import re

import numpy as np
import pytest

from warmstart.data.readers.files import read_dataset
from warmstart.data.sources import find_source, get_source, synthetic_dialogues
from warmstart.data.splits.dialogue_split import requests_of
from warmstart.data.splits.dialogues import dialogues
from warmstart.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def data():
    return synthetic_dialogues(rng=np.random.default_rng(0))


@pytest.fixture(scope="module")
def split(data):
    return dialogues(data)


def test_default_size_and_parts(data):
    assert (len(data.dialogues), data.n_items) == (400, 300)
    assert [data.dialogues.parts.count(part) for part in ("train", "valid", "test")] == [
        280,
        60,
        60,
    ]
    assert len(set(data.catalogue.titles(data.catalogue.item_ids.values))) == 300


def test_equal_generators_give_equal_data(data):
    again, other = (synthetic_dialogues(rng=np.random.default_rng(seed)) for seed in (0, 1))
    assert again.dialogues.hash == data.dialogues.hash
    assert other.dialogues.hash != data.dialogues.hash


def test_new_books_are_recommended_in_the_test_part_only(data, split):
    warm = split.train.warm
    for part, low, high in (("valid", 0.0, 0.25), ("test", 0.2, 0.6)):
        kept = np.array([name == part for name in data.dialogues.parts])
        cold = ~warm[requests_of(data.dialogues, kept).targets]
        assert low <= cold.mean() < high, part
    named = {
        part: {
            item
            for row, name in enumerate(data.dialogues.parts)
            if name == part
            for turn in range(data.dialogues.offsets[row], data.dialogues.offsets[row + 1])
            for item in data.dialogues.items[turn].tolist()
        }
        for part in ("train", "valid", "test")
    }
    assert len(named["test"] - named["train"] - named["valid"]) > 10


def words_of(texts, vocabulary=None):
    """Unit rows of inverse document frequencies, shape (texts, words), and the words."""
    found = [set(re.findall(r"[a-z]+", text.lower())) for text in texts]
    vocabulary = vocabulary or sorted(set().union(*found))
    rows = np.array([[word in words for word in vocabulary] for words in found], float)
    rows *= np.log(1 + len(texts) / np.maximum(rows.sum(0), 1))
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), vocabulary


def recall_at_10(scores, masked, targets):
    scores = np.where(masked, -np.inf, scores)
    own = scores[np.arange(len(targets)), targets][:, None]
    ranks = (scores > own).sum(1) + (scores == own).sum(1) / 2
    return float((ranks <= 10).mean())


def test_content_co_mention_similar_requests_and_popularity_each_tell_a_part(data, split):
    n_items, train = data.n_items, split.train
    task = split.tasks("test")["all"]
    targets, masked = task.relevance.indices, task.masked.toarray()
    asked = requests_of(train.dialogues)
    items, vocabulary = words_of(data.catalogue.texts)
    titles = data.catalogue.names

    def without_titles(texts):
        return [re.sub("|".join(map(re.escape, titles)), "", text) for text in texts]

    mentioned = task.queries.histories.matrix(n_items).toarray()
    together = (train.matrix.T @ train.matrix).toarray()
    np.fill_diagonal(together, 0)
    before, words = words_of(without_titles(asked.queries.texts))
    now = words_of(without_titles(task.queries.texts), words)[0]
    popularity = np.asarray(train.matrix.sum(0)).ravel().astype(float)
    near = now @ before.T
    near[near < np.sort(near, axis=1)[:, -20:-19]] = 0
    recommended = np.eye(n_items)[asked.targets]
    recall = {
        "random": recall_at_10(np.random.default_rng(0).random(masked.shape), masked, targets),
        "popularity": recall_at_10(np.tile(popularity, (len(targets), 1)), masked, targets),
        "content": recall_at_10(
            words_of(task.queries.texts, vocabulary)[0] @ items.T, masked, targets
        ),
        "co-mention": recall_at_10(mentioned @ together + 1e-6 * popularity, masked, targets),
        "similar requests": recall_at_10(near @ recommended, masked, targets),
    }
    for signal in ("popularity", "content", "co-mention", "similar requests"):
        assert recall["random"] + 0.04 < recall[signal] < 0.9, (signal, recall)


def test_the_source_writes_a_folder_that_can_be_read_and_written_again(tmp_path):
    source = find_source("synthetic-dialogues")
    folder = get_source(source, tmp_path)
    read = read_dataset(folder)
    assert (folder / "dialogues.jsonl").is_file()
    assert not (folder / "interactions.parquet").exists()
    assert get_source(source, tmp_path) == folder
    assert read_dataset(folder).dialogues.hash == read.dialogues.hash
    assert dialogues(read).summary()["parts"]["test"]["dialogues"] == 60


def test_a_folder_with_other_files_is_not_replaced(tmp_path):
    (tmp_path / "synthetic-dialogues").mkdir()
    (tmp_path / "synthetic-dialogues" / "dialogues.jsonl").write_text("")
    with pytest.raises(DataError, match="other content"):
        get_source(find_source("synthetic-dialogues"), tmp_path)


@pytest.mark.parametrize(("n_dialogues", "n_items"), [(19, 300), (400, 99)])
def test_too_small_worlds_are_refused(n_dialogues, n_items):
    with pytest.raises(ConfigError, match="at least 20 and 100"):
        synthetic_dialogues(n_dialogues, n_items, rng=np.random.default_rng(0))

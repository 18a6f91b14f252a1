"""Reindexing on a tiny LM: one step finds what the slow search finds."""

import numpy as np
import polars as pl
import pytest
import torch

from warmstart.conversation import lm_rows
from warmstart.conversation.dialogue_prompts import DialoguePrompts, PromptConfig
from warmstart.conversation.distillation import Pairs, ReindexTrainee, sampled_loss
from warmstart.conversation.lm_rows import query_rows
from warmstart.conversation.reindex import ReindexConfig, fit_reindex
from warmstart.conversation.title_index import (
    TitleIndex,
    TitleTokens,
    all_vectors,
    output_table,
)
from warmstart.data.catalogue import Catalogue
from warmstart.data.histories import Histories
from warmstart.data.ids import Ids
from warmstart.data.queries import Queries
from warmstart.errors import ArtefactError, DataError
from warmstart.lm.best_titles import best_titles
from warmstart.lm.trie import Trie
from warmstart.run import Run
from warmstart.testing.worlds.items import WORDS
from warmstart.train.seed import torch_seed

# Without words after the dialogue: the state of a tiny LM depends mostly on the last few words.
WORDING = PromptConfig(
    introduction="", question="", page_introduction="page", page_question="", list_start="",
    title_tokens=4,
)  # fmt: skip
N_TITLES, N_QUERIES, K = 80, 150, 5
SETTINGS = {
    **{"prompts": WORDING, "beam": 30, "lists": N_QUERIES, "pages": 40, "batch_size": 64},
    **{"epochs": 30, "patience": 8, "learning_rate": 5e-3},
}


def some_catalogue(rng, n=N_TITLES):
    words = sorted(WORDS)
    titles = {
        " ".join(rng.choice(words, rng.integers(1, 4), replace=False)): 0 for _ in range(2 * n)
    }
    titles = list(titles)[:n]
    columns = pl.DataFrame({"title": titles})
    return Catalogue(Ids(list(range(n)), "item"), tuple(titles), None, columns, ("title",))


def some_queries(rng, n):
    words = sorted(WORDS)
    texts = [f"User: like {' '.join(rng.choice(words, 4))}" for _ in range(n)]
    histories = Histories.from_lists([rng.choice(N_TITLES, 2, replace=False) for _ in range(n)])
    return Queries.of_texts(texts, histories)


@pytest.fixture(scope="module")
def catalogue():
    return some_catalogue(np.random.default_rng(0))


@pytest.fixture(scope="module")
def asked():
    return some_queries(np.random.default_rng(1), N_QUERIES)


def fitted(causal, catalogue, asked, run=None, **settings):
    config = ReindexConfig(**{**SETTINGS, **settings})
    return fit_reindex(config, causal, catalogue, asked, run or Run(), np.random.default_rng(3))


def lists_of(causal, catalogue, queries):
    """The lists that the LM itself finds, by a search that misses nothing."""
    prompts = DialoguePrompts(causal.lm, WORDING)
    asked, titles = prompts.of_dialogues(queries.texts), prompts.titles(catalogue.names)
    return best_titles(causal, asked, Trie(titles), k=K, end=prompts.end, beam=len(titles)).items


@pytest.fixture(scope="module")
def tested(causal, catalogue):
    """Other queries, with the LM's lists."""
    queries = some_queries(np.random.default_rng(2), 60)
    return queries, lists_of(causal, catalogue, queries)


@pytest.fixture(scope="module")
def index(causal, catalogue, asked):
    return fitted(causal, catalogue, asked)


def recall(queries, lists, vectors, among=None):
    """Share of the LM's titles, or of those among some items, that one step ranks in front."""
    best = np.argsort(-(queries @ vectors.T), axis=1)[:, :10]
    found = (lists[:, :, None] == best[:, None, :]).any(axis=2)
    return found.mean() if among is None else found[np.isin(lists, among)].mean()


class FreeTable(torch.nn.Module):
    """One free vector for each item: what cannot know a new title."""

    def __init__(self, n, width):
        super().__init__()
        self.rows = torch.nn.Embedding(n, width)
        torch.nn.init.normal_(self.rows.weight, 0, 0.1)

    def forward(self, rows, lengths):
        return self.rows(rows)


class ItemRows(TitleTokens):
    """Items by their rows alone."""

    def vectors(self, rows):
        return rows, rows


def test_one_step_finds_what_the_lm_recommends(causal, catalogue, asked, tested, index):
    queries, lists = tested
    popular = np.bincount(lists_of(causal, catalogue, asked).ravel(), minlength=N_TITLES)
    found = recall(index.query_states(queries.texts), lists, index.item_vectors)
    assert found > recall(np.ones((60, 1)), lists, popular[:, None]) + 0.15
    plain = fitted(causal, catalogue, asked, aggregator="mean")
    assert found > recall(plain.query_states(queries.texts), lists, plain.item_vectors) + 0.15


def free_table(causal, index, texts, pairs, n_items):
    """Train a free vector for each item on the same queries: float32, shape (n_items, width)."""
    with torch_seed(np.random.default_rng(0)):
        table = FreeTable(n_items, causal.lm.width)
    tokens = ItemRows(output_table(causal), [[0]] * n_items)
    trainee = ReindexTrainee(
        table, tokens, index.query_states(texts), pairs,
        negatives=n_items, batch_size=64, learning_rate=5e-2, weight_decay=0.0,
    )  # fmt: skip
    for epoch in range(15):
        list(trainee.epoch(np.random.default_rng(epoch), epoch))
    return all_vectors(table, tokens)


def test_titles_that_were_held_out_are_found_too(causal):
    """Every title is held out once, in one of four fits: which ones they are decides much."""
    n_items = 300
    catalogue = some_catalogue(np.random.default_rng(0), n_items)
    asked = Queries.of_texts(some_queries(np.random.default_rng(1), 200).texts)
    queries = some_queries(np.random.default_rng(2), 60)
    lists = lists_of(causal, catalogue, queries)
    own = lists_of(causal, catalogue, asked)
    folds = np.random.default_rng(0).permutation(n_items) % 4
    hits, of_table, of_known = [], [], []
    for fold in range(4):
        known, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        index = fitted(causal, catalogue.take(known), asked, lists=200, pages=n_items, epochs=20)
        vectors = np.zeros((n_items, causal.lm.width), np.float32)
        vectors[known] = index.item_vectors
        vectors[held_out] = index.encode_titles([catalogue.names[row] for row in held_out])
        at = np.nonzero(~np.isin(own, held_out))
        free = free_table(causal, index, asked.texts, Pairs(at[0], own[at]), n_items)
        states, weight = index.query_states(queries.texts), np.isin(lists, held_out).sum()
        hits.append(recall(states, lists, vectors, held_out) * weight)
        of_table.append(recall(states, lists, free, held_out) * weight)
        of_known.append(recall(states, lists, free, known))
    assert sum(hits) / lists.size > 0.3  # by chance: 10 of 300
    assert min(of_known) > 0.7
    assert sum(of_table) / lists.size < 0.1


def test_the_vectors_come_from_the_output_table(causal, catalogue, asked, index, monkeypatch):
    """Rows of other tokens give other vectors: a shifted table would fail."""
    shifted = torch.roll(output_table(causal), 1, dims=0)
    ids = DialoguePrompts(causal.lm, WORDING).titles(catalogue.names)
    vectors = all_vectors(index.aggregator, TitleTokens(output_table(causal), ids))
    np.testing.assert_array_equal(vectors, index.item_vectors)
    wrong = all_vectors(index.aggregator, TitleTokens(shifted, ids))
    assert np.abs(wrong - vectors).max() > 0.1


def test_an_untied_head_is_the_table(causal, monkeypatch):
    head = torch.nn.Linear(causal.lm.width, causal.n_tokens, bias=False)
    monkeypatch.setattr(causal, "head", head)
    assert output_table(causal).data_ptr() == head.weight.data_ptr()
    assert output_table(causal).data_ptr() != causal.words().data_ptr()


def test_a_query_is_the_state_that_would_emit_a_title(causal, index):
    """The raw state gives the logits of the next token; scaling can be undone."""
    text = "User: like two four eight"
    prompts = DialoguePrompts(causal.lm, WORDING).of_dialogues([text])
    scaled = torch.from_numpy(index.query_states([text]))
    raw = (scaled - index.scaling.common) * index.scaling.scale + index.scaling.centre
    logits = causal.logits(raw).detach().numpy()
    np.testing.assert_allclose(logits, causal.next_token_logits(prompts), rtol=1e-3, atol=1e-3)


def test_queries_do_not_depend_on_the_batch(index, tested):
    texts = list(tested[0].texts[:5])
    together = index.query_states(texts)
    np.testing.assert_allclose(together[[3]], index.query_states(texts[3:4]), rtol=1e-3, atol=1e-3)


def test_mentioned_items_are_no_answers(causal, catalogue, asked, monkeypatch):
    given = {}

    def spied(*args, left_out, **options):
        given["lists"] = best_titles(*args, left_out=left_out, **options)
        given["left out"] = left_out
        return given["lists"]

    monkeypatch.setattr(lm_rows, "best_titles", spied)
    fitted(causal, catalogue, asked, epochs=1, lists=30)
    assert (given["left out"].lengths == 2).all()
    for row, items in enumerate(given["lists"].items):
        assert not set(items) & set(given["left out"][row])


def test_an_index_is_restored(causal, catalogue, index, tested):
    state = index.state()
    again = TitleIndex.from_state(state, "gru", WORDING, causal.spec, causal)
    texts = tested[0].texts[:3]
    np.testing.assert_array_equal(again.query_states(texts), index.query_states(texts))
    np.testing.assert_array_equal(again.item_vectors, index.item_vectors)
    new = again.append(["two four", catalogue.names[0]])
    np.testing.assert_allclose(new[1], index.item_vectors[0], rtol=1e-4, atol=1e-5)
    assert len(again.item_vectors) == N_TITLES + 2
    with pytest.raises(ArtefactError, match="title index: the saved arrays are damaged"):
        TitleIndex.from_state({**state, "scaling.scale": state["scaling.scale"][:3]}, "gru",
                              WORDING, causal.spec, causal)  # fmt: skip


def test_an_interrupted_fit_goes_on(causal, catalogue, asked, index, tmp_path, monkeypatch):
    monkeypatch.setattr(lm_rows, "_LISTS_AT_ONCE", 50)
    asked_for = []

    def counted(model, prompts, *args, **options):
        asked_for.append(len(prompts))
        if len(asked_for) == 2:
            raise KeyboardInterrupt
        return best_titles(model, prompts, *args, **options)

    monkeypatch.setattr(lm_rows, "best_titles", counted)
    with pytest.raises(KeyboardInterrupt):
        fitted(causal, catalogue, asked, Run(tmp_path))
    states = []
    monkeypatch.setattr(
        lm_rows, "query_rows", lambda *given: states.append(len(given[1])) or query_rows(*given)
    )
    resumed = fitted(causal, catalogue, asked, Run(tmp_path))
    assert asked_for == [50, 50, 50, 50]
    assert states == [40]
    np.testing.assert_allclose(resumed.item_vectors, index.item_vectors, rtol=1e-3, atol=1e-3)
    again = fitted(causal, catalogue, asked, Run(tmp_path))
    assert asked_for == [50, 50, 50, 50]
    np.testing.assert_array_equal(again.item_vectors, resumed.item_vectors)


def test_the_loss_is_that_of_the_paper():
    rng = np.random.default_rng(0)
    states, vectors = rng.normal(size=(3, 4)), rng.normal(size=(6, 4))
    positives, drawn = np.array([1, 1, 5]), np.array([1, 1, 1, 0, 0, 0], bool)
    scores, losses = states @ vectors.T, []
    for row, item in enumerate(positives):
        others = [n for n in np.flatnonzero(drawn) if n != item]
        total = np.exp(scores[row, item]) + np.exp(scores[row, others]).sum()
        losses.append(-np.log(np.exp(scores[row, item]) / total))
    given = [torch.from_numpy(array) for array in (states, vectors, positives, drawn)]
    assert sampled_loss(*given).item() == pytest.approx(np.mean(losses))


@pytest.mark.parametrize("kind", ["weighted", "transformer"])
def test_the_other_aggregators_learn(causal, catalogue, asked, tested, kind):
    queries, lists = tested
    plain = fitted(causal, catalogue, asked, aggregator="mean")
    index = fitted(causal, catalogue, asked, aggregator=kind, epochs=4)
    untrained = recall(plain.query_states(queries.texts), lists, plain.item_vectors)
    found = recall(index.query_states(queries.texts), lists, index.item_vectors)
    assert found > untrained + 0.05


def test_wrong_settings(causal, catalogue):
    with pytest.raises(ValueError, match="lists and pages are both 0, so aggregator 'gru'"):
        ReindexConfig(lists=0, pages=0)
    with pytest.raises(ValueError, match="beam must be at least titles_per_list = 5, got 3"):
        ReindexConfig(beam=3)
    with pytest.raises(DataError, match="no dialogue and no item with a text"):
        fitted(causal, catalogue, Queries.of_texts([]), pages=0)

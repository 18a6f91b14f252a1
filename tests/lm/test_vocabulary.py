"""Added vocabulary: rows beside the words of a frozen causal LM."""

import numpy as np
import pytest
import torch

from warmstart.errors import DataError
from warmstart.lm import LMConfig, load_language_model
from warmstart.lm.causal import CausalLM
from warmstart.lm.texts import TokenBatch
from warmstart.lm.vocabulary import AddedVocabulary, random_rows


@pytest.fixture(scope="module")
def model(causal_folder):
    return CausalLM(load_language_model(LMConfig(source=str(causal_folder))))


def scores(model, added, ids):
    """Logits of the added tokens after a row of words and added tokens."""
    ids, vectors = added.as_slots(torch.tensor([ids]))
    batch = TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool))
    return added.logits(model.last_states(batch, vectors))[0]


def test_a_row_with_the_vector_of_a_word_reads_and_scores_as_the_word(model):
    added = AddedVocabulary(model, model.words()[[7, 5]].detach().numpy())
    n = model.n_tokens
    with torch.no_grad():
        found = scores(model, added, [4, n, 6, n + 1])
        batch = TokenBatch(torch.tensor([[4, 7, 6, 5]]), torch.ones(1, 4, dtype=torch.bool))
        expected = model.logits(model.last_states(batch))[0, [7, 5]]
    torch.testing.assert_close(found, expected)


def test_only_the_rows_are_trained_and_the_base_stays(model):
    before = {name: w.clone() for name, w in model.lm.with_head.state_dict().items()}
    added = AddedVocabulary(model, random_rows(model, 4, np.random.default_rng(0)))
    start = added.rows.detach().clone()
    optimiser = torch.optim.SGD(added.parameters(), lr=0.1)
    n = model.n_tokens
    torch.nn.functional.cross_entropy(
        scores(model, added, [4, n, n + 2])[None], torch.tensor([1])
    ).backward()
    optimiser.step()
    changed = (added.rows != start).any(dim=1)
    assert changed.all()  # as inputs 0 and 2, and every one as a score
    for name, weight in model.lm.with_head.state_dict().items():
        assert torch.equal(weight, before[name])
    assert all(weight.grad is None for weight in model.lm.with_head.parameters())


def test_other_numbers_of_the_tokens_change_no_score(model):
    rng = np.random.default_rng(1)
    rows, order = random_rows(model, 6, rng), rng.permutation(6)
    n, number = model.n_tokens, np.argsort(order)
    plain, renumbered = AddedVocabulary(model, rows), AddedVocabulary(model, rows[order])
    history = [0, 3, 5, 2]
    with torch.no_grad():
        expected = scores(model, plain, [4, *(n + item for item in history)])
        found = scores(model, renumbered, [4, *(n + int(number[item]) for item in history)])
    torch.testing.assert_close(found, expected[torch.from_numpy(order)])


def test_random_rows_are_like_words(model):
    rows = random_rows(model, 4000, np.random.default_rng(2))
    words = model.words().detach().numpy()
    np.testing.assert_allclose(rows.mean(axis=0), words.mean(axis=0), atol=0.12)
    np.testing.assert_allclose(rows.std(axis=0), words.std(axis=0), rtol=0.1)
    again = random_rows(model, 4000, np.random.default_rng(2))
    np.testing.assert_array_equal(rows, again)


def test_rows_of_another_width_are_refused(model):
    with pytest.raises(DataError, match=r"shape \(2, 3\), allowed: \(tokens, 32\)"):
        AddedVocabulary(model, np.zeros((2, 3), np.float32))

"""Behaviour of all sequence backbones on the planted cycle."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.special import expit, logsumexp

from tests.backbones.sequence.conftest import N_CYCLE, N_ITEMS, SMALL, cycle, newest
from warmstart.backbones.sequence import build_sequence
from warmstart.backbones.sequence.gru4rec import Gru4Rec
from warmstart.backbones.sequence.network import Dropout
from warmstart.backbones.sequence.sasrec import SasRec, SasRecConfig
from warmstart.data.histories import Histories
from warmstart.errors import ArtefactError, ConfigError, DataError, NotFittedError


def fit(config, histories, *, seed=0, n_items=N_ITEMS, **arguments):
    rng = np.random.default_rng(seed)
    return build_sequence(config).fit(histories, n_items, rng=rng, **arguments)


def scores(backbone, histories):
    return backbone.encode(histories) @ backbone.item_vectors.T


def accuracy(backbone, histories):
    """How often the successor of the newest item has the highest score."""
    items, rows = newest(histories)
    best = np.nanargmax(scores(backbone, histories)[rows], axis=1)
    return (best == (items + 1) % N_CYCLE).mean()


def test_the_successor_is_learned_and_needs_the_order(config, fitted_once, asked, train):
    assert accuracy(fitted_once(config), asked) > 0.95
    rng = np.random.default_rng(0)
    shuffled = Histories.from_lists([rng.permutation(train[row]) for row in range(len(train))])
    assert accuracy(fit(config, shuffled), asked) < 0.6


@pytest.mark.parametrize("loss", ["softmax", "bce"])
def test_two_threads_fit_the_same_model_twice(loss, train, two_threads):
    settings = SasRecConfig(**SMALL | {"loss": loss, "epochs": 3})
    first, *others = (fit(settings, train).state() for _ in range(3))
    for name, array in first.items():
        for other in others:
            np.testing.assert_array_equal(other[name], array)


@pytest.mark.parametrize("temperature", [None, 0.1])
def test_the_published_loss_learns_too(temperature, train, asked):
    config = SasRecConfig(**SMALL | {"loss": "bce", "temperature": temperature, "epochs": 25})
    backbone = fit(config, train)
    items, rows = newest(asked)
    found = scores(backbone, asked)[rows]
    found[asked.take(rows).matrix(N_ITEMS).toarray() > 0] = -np.inf
    assert (np.nanargmax(found, axis=1) == (items + 1) % N_CYCLE).mean() > 0.6


def test_a_history_is_encoded_alike_alone_and_among_others(config, fitted_once, asked):
    backbone = fitted_once(config)
    together = backbone.encode(asked)
    for row in (0, 7, 31):
        alone = backbone.encode(asked.take(np.array([row])))
        np.testing.assert_allclose(alone[0], together[row], rtol=1e-4, atol=1e-4)
    order = np.random.default_rng(0).permutation(len(asked))
    np.testing.assert_allclose(
        backbone.encode(asked.take(order)), together[order], rtol=1e-4, atol=1e-4
    )


def test_later_items_do_not_change_earlier_states(config, fitted_once):
    network = fitted_once(config)._learned.eval()
    items = torch.arange(12).view(2, 6)
    changed = items.clone()
    changed[:, 4:] = 19
    with torch.no_grad():
        before, after = network(items), network(changed)
    torch.testing.assert_close(before[:, :4], after[:, :4])
    assert not torch.allclose(before[:, 4:], after[:, 4:])


def test_items_never_seen_have_no_vector_and_are_skipped(config, fitted_once):
    backbone = fitted_once(config)
    assert np.isnan(backbone.item_vectors).all(axis=1).nonzero()[0].tolist() == [20, 21]
    histories = Histories.from_lists([[3, 4], [20, 3, 21, 4, 20], [20, 21], []])
    states = backbone.encode(histories)
    np.testing.assert_allclose(states[0], states[1], rtol=1e-4, atol=1e-4)
    assert np.isnan(states[2:]).all()
    assert not np.isnan(states[:2]).any()


def test_an_item_of_single_events_only_has_no_vector(config):
    backbone = fit(config, Histories.from_lists([[0, 1], [1, 0], [2]]), n_items=3)
    assert np.isnan(backbone.item_vectors[2]).all()
    assert np.isfinite(backbone.item_vectors[:2]).all()


def test_only_the_newest_items_count(config, train, asked):
    backbone = fit(config.model_copy(update={"max_length": 3, "epochs": 1}), train)
    np.testing.assert_array_equal(backbone.encode(asked), backbone.encode(asked.last(3)))
    long = asked.lengths > 3
    assert not np.allclose(
        backbone.encode(asked.take(long)), backbone.encode(asked.take(long).last(2))
    )


def test_equal_seeds_give_equal_bits_and_leave_the_global_state_alone(config, train, asked):
    config = config.model_copy(update={"epochs": 2})
    torch.manual_seed(5)
    first = scores(fit(config, train), asked)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    torch.testing.assert_close(torch.rand(3), drawn, rtol=0, atol=0)
    np.testing.assert_array_equal(first, scores(fit(config, train), asked))
    assert not np.allclose(first, scores(fit(config, train, seed=1), asked), equal_nan=True)


def test_an_interrupted_fit_ends_as_an_uninterrupted_one(config, train, asked, tmp_path):
    config = config.model_copy(update={"epochs": 3})
    calls = []

    def interrupting():
        calls.append(len(calls))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return float(len(calls))

    with pytest.raises(KeyboardInterrupt):
        fit(config, train, validate=interrupting, run_folder=tmp_path)
    resumed = fit(config, train, validate=lambda: 9.0, run_folder=tmp_path)
    whole = fit(config, train, validate=lambda: 9.0)
    assert len(calls) == 2
    np.testing.assert_array_equal(scores(resumed, asked), scores(whole, asked))


def test_the_best_epoch_is_kept_and_validation_sees_the_current_one(config, train, asked):
    seen = []

    def validate():
        seen.append(scores(backbone, asked))
        return float(-abs(len(seen) - 2))  # the second epoch is the best

    backbone = build_sequence(config.model_copy(update={"validate_every": 1, "patience": 2}))
    backbone.fit(train, N_ITEMS, validate=validate, rng=np.random.default_rng(0))
    assert len(seen) == 4
    assert backbone.chosen_config.epochs == 2
    np.testing.assert_array_equal(scores(backbone, asked), seen[1])
    assert not np.allclose(seen[0], seen[1], equal_nan=True)


def test_restored_arrays_give_equal_scores(config, fitted_once, asked):
    backbone = fitted_once(config)
    restored = build_sequence(config).restore(backbone.state())
    np.testing.assert_array_equal(scores(restored, asked), scores(backbone, asked))
    incomplete = backbone.state()
    del incomplete["network/items"]
    with pytest.raises(ArtefactError, match="lacks"):
        build_sequence(config).restore(incomplete)
    wider = build_sequence(config.model_copy(update={"width": 24}))
    with pytest.raises(ArtefactError, match="shape"):
        wider.restore(backbone.state())


def test_a_second_fit_forgets_the_first(config, train, asked):
    config = config.model_copy(update={"epochs": 1})
    backbone = fit(config, cycle(np.random.default_rng(9), 20))
    backbone.fit(train, N_ITEMS, rng=np.random.default_rng(0))
    np.testing.assert_array_equal(scores(backbone, asked), scores(fit(config, train), asked))


def test_wrong_input_is_named(config, train):
    with pytest.raises(DataError, match="two events"):
        fit(config, Histories.from_lists([[1], []]))
    with pytest.raises(DataError, match=r"rows from 0 to 9, got 1\d"):
        fit(config, train, n_items=10)
    with pytest.raises(NotFittedError, match=config.kind):
        build_sequence(config).encode(train)
    with pytest.raises(ConfigError, match="SasRecConfig, got Gru4RecConfig"):
        SasRec(Gru4Rec().config)


def test_heads_must_divide_the_width():
    with pytest.raises(ConfigError, match="heads"):
        SasRecConfig.build({"width": 10, "heads": 4})


def test_dropout_drops_its_share_and_keeps_the_mean():
    dropout, values = Dropout(0.25), torch.ones(101, 999)
    torch.manual_seed(0)
    found = dropout(values)
    assert (found == 0).float().mean().item() == pytest.approx(0.25, abs=0.01)
    assert found.mean().item() == pytest.approx(1, abs=0.01)
    rows = (found == 0).float().mean(dim=1)
    assert rows.std() == pytest.approx((0.25 * 0.75 / 999) ** 0.5, rel=0.3)
    torch.testing.assert_close(dropout.eval()(values), values)


def prefixes(histories):
    """Every history before each of its events but the first, and these events."""
    walks = [histories[query] for query in range(len(histories))]
    found = [(items[:end], items[end]) for items in walks for end in range(1, len(items))]
    return Histories.from_lists([items for items, _ in found]), np.array(
        [item for _, item in found]
    )


def test_a_folded_in_vector_stands_in_for_the_learned_one(config, fitted_once, train, asked):
    backbone = fitted_once(config)
    before, following = prefixes(train)
    events = sparse.csr_matrix(following == np.array([[7], [15]]), dtype=np.float32)
    folded = backbone.fold_in(backbone.encode(before), events)
    vectors = backbone.item_vectors
    np.testing.assert_array_equal(vectors, fitted_once(config).item_vectors)
    vectors[[7, 15]] = folded
    items, rows = newest(asked)
    found = np.nanargmax(backbone.encode(asked.take(rows)) @ vectors.T, axis=1)
    for folded_item in (7, 15):
        np.testing.assert_array_equal(found == folded_item, items == folded_item - 1)


def test_the_expected_number_of_events_is_the_observed_one(config, fitted_once, train):
    """But at least that of the average item, for an item that had little time."""
    backbone = fitted_once(config)
    before, following = prefixes(train)
    states = backbone.encode(before)
    for weight in (1.0, 0.2, 0.01):
        events = sparse.csr_matrix(weight * (following == np.array([[7], [15]])), dtype=np.float32)
        scores = backbone.fold_in(states, events) @ states.T
        others = logsumexp(states @ backbone.item_vectors[:N_CYCLE].T, axis=1)
        expected = expit(scores - others).sum(axis=1)
        observed = np.asarray(events.sum(axis=1)).ravel()
        average = len(following) / N_CYCLE
        np.testing.assert_allclose(expected, np.maximum(observed, average), rtol=0.01)


@pytest.mark.parametrize("clicks", [1, 4, "all"])
def test_few_clicks_and_clicks_of_all_give_a_vector(config, fitted_once, train, asked, clicks):
    """Whoever clicks an item gets it above the average rank, and never a vector of zeros."""
    backbone = fitted_once(config)
    states = backbone.encode(train)
    known = np.flatnonzero(np.isfinite(states).all(axis=1))
    users = known if clicks == "all" else known[:clicks]
    events = np.zeros((1, len(train)), np.float32)
    events[0, users] = 1
    (found,) = backbone.fold_in(states, sparse.csr_matrix(events))
    assert np.linalg.norm(found) > 0.1 * np.nanmean(np.linalg.norm(backbone.item_vectors, axis=1))
    others = states[users] @ backbone.item_vectors[:N_CYCLE].T
    above = (others > (states[users] @ found)[:, None]).mean()
    assert above < 0.5


def test_fold_in_of_nothing_and_of_nobody(config, fitted_once, asked):
    backbone = fitted_once(config)
    states = backbone.encode(asked)
    events = np.zeros((2, len(asked)), np.float32)
    events[0, np.flatnonzero(asked.lengths)[:4]] = 1
    found = backbone.fold_in(states, sparse.csr_matrix(events))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()
    known = asked.lengths > 0
    np.testing.assert_array_equal(
        found, backbone.fold_in(states[known], sparse.csr_matrix(events[:, known]))
    )
    with pytest.raises(DataError, match="columns"):
        backbone.fold_in(states[1:], sparse.csr_matrix(events))
    with pytest.raises(DataError, match="without NaN"):
        backbone.fold_in(np.full_like(states, np.nan), sparse.csr_matrix(events))

"""Backbones as models of histories: the same rules for sequence and factor backbones."""

import numpy as np
import pytest

from tests.backbones.conftest import CONFIGS
from tests.backbones.sequence.conftest import CONFIGS as SEQUENCE_CONFIGS
from tests.backbones.sequence.conftest import N_ITEMS, cycle
from warmstart.backbones import build
from warmstart.backbones.factor_histories import FactorHistories
from warmstart.backbones.sequence import build_sequence
from warmstart.data.histories import Histories
from warmstart.errors import DataError

KINDS = ["sasrec", "gru4rec", "fism", "bpr", "ials", "lightgcn"]


@pytest.fixture(scope="module")
def models():
    """One fitted model of each kind, of a planted cycle."""
    train, found = cycle(np.random.default_rng(0), 150), {}
    for kind in KINDS:
        rng = np.random.default_rng(1)
        if kind in SEQUENCE_CONFIGS:
            found[kind] = build_sequence(SEQUENCE_CONFIGS[kind]).fit(train, N_ITEMS, rng=rng)
        else:
            matrix = train.matrix(N_ITEMS)
            found[kind] = FactorHistories(build(CONFIGS[kind]).fit(matrix, rng=rng), matrix)
    return found


@pytest.fixture
def asked():
    """Histories with items that have no vector (the last two), empty ones and repeated items."""
    return Histories.from_lists([[3, 4, 20, 5], [], [21], [7, 7, 8], [1]])


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_after_the_newest_event_is_that_of_the_history(kind, models, asked):
    model = models[kind]
    states, events = model.encode(asked), model.encode_events(asked)
    assert np.isnan(states).all(axis=1).tolist() == [False, True, True, False, False]
    assert np.isnan(events).all(axis=1).tolist() == [
        *[False, False, True, False],
        True,
        *[False] * 4,
    ]
    for row, event in ((0, 3), (3, 7), (4, 8)):
        np.testing.assert_allclose(events[event], states[row], atol=2e-4)
    prefix = model.encode(Histories.from_lists([[3, 4]]))[0]
    np.testing.assert_allclose(events[1], prefix, atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_own_vectors_given_are_own_vectors(kind, models, asked):
    model = models[kind]
    vectors = model.item_vectors
    np.testing.assert_allclose(model.encode(asked, vectors), model.encode(asked), atol=2e-4)
    np.testing.assert_allclose(
        model.encode_events(asked, vectors), model.encode_events(asked), atol=2e-4
    )


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_item_with_the_vector_of_another_reads_like_it(kind, models):
    model = models[kind]
    vectors = np.concatenate([model.item_vectors, model.item_vectors[4:5]])
    new = len(vectors) - 1
    found = model.encode(Histories.from_lists([[3, new], [new]]), vectors)
    expected = model.encode(Histories.from_lists([[3, 4], [4]]))
    np.testing.assert_allclose(found, expected, atol=2e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_vectors_of_another_width_are_refused(kind, models, asked):
    with pytest.raises(DataError, match=r"vectors have shape \(22, 3\)"):
        models[kind].encode(asked, np.zeros((22, 3), np.float32))


def test_events_beyond_the_longest_history_have_no_state(models):
    model = build_sequence(
        SEQUENCE_CONFIGS["sasrec"].model_copy(update={"max_length": 3, "epochs": 1})
    ).fit(cycle(np.random.default_rng(0), 50), N_ITEMS, rng=np.random.default_rng(0))
    states = model.encode_events(Histories.from_lists([[0, 1, 2, 3, 4], [5]]))
    assert np.isnan(states).all(axis=1).tolist() == [True, True, False, False, False, False]


def test_states_of_histories_are_on_the_scale_of_the_users(models):
    """The least-squares match of the vectors of the fit has the factor one."""
    train = cycle(np.random.default_rng(0), 150)
    model = models["ials"]
    rows = np.flatnonzero(train.lengths)
    found, own = model.encode(train)[rows], model.backbone.vectors[0][rows]
    assert np.vdot(found, own) / np.vdot(found, found) == pytest.approx(1, abs=0.02)
    cosine = (found * own).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(own, axis=1)
    assert cosine.mean() > 0.95

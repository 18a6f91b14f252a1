"""markov by hand: transitions, smoothing, empty histories."""

import numpy as np

from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.methods.markov import Markov, following_items
from warmstart.testing.worlds.checkerboard import checkerboard


def test_transitions_by_hand():
    histories = Histories.from_lists([[0, 1, 2], [1, 2], [], [0, 1, 0], [2]])
    found = following_items(histories, 3).toarray()
    assert found.tolist() == [[0, 2, 0], [1, 0, 2], [0, 0, 0]]


def test_scores_are_smoothed_probabilities():
    world = checkerboard()
    model = Markov(strength=2.0).fit(world.data)
    items = np.flatnonzero(world.data.warm).astype(np.int32)
    last = int(world.data.histories[int(world.active_users[0])][0])
    histories = Histories.from_lists([[5, last], []])
    scores = model.score(Queries.of_histories(histories), items)
    follows = following_items(world.data.histories, world.data.n_items).toarray()[last]
    share = np.bincount(world.data.interactions.items, minlength=world.data.n_items)
    share = share / share.sum()
    expected = (follows + 2 * share) / (follows.sum() + 2)
    np.testing.assert_allclose(scores[0], expected[items], rtol=1e-5)
    assert np.isnan(scores[1]).all()  # nothing is known of an empty history

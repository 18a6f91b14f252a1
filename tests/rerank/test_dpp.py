"""Greedy determinants against numpy's determinant, and the limits of the kernel."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rerank.inputs import candidates, check_list, float32, genres_of, plain
from warmstart.errors import ConfigError
from warmstart.rerank.dpp import dpp
from warmstart.rerank.similarity import cosine_similarity, jaccard_similarity, matrix_similarity


@given(candidates(), st.integers(1, 6), st.sampled_from([0, 0.3, 1]))
def test_a_diagonal_kernel_ranks_by_score(case, k, diversity):
    scores, _ = case
    found = dpp(scores, matrix_similarity(np.eye(len(scores))), k, diversity=diversity)
    check_list(found, scores, k)
    assert found.tolist() == plain(scores, k)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("diversity", [0.2, 0.7, 1.0])
def test_every_place_has_the_largest_determinant(seed, diversity):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(8, 12))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    scores = rng.random(8).astype(np.float32)
    found = dpp(scores, cosine_similarity(vectors), 6, diversity=diversity).tolist()
    # The kernel of the paper: log det = 2 a sum(s) + log det(K), with 2 a = (1 - d) / d.
    growth = np.exp((1 - diversity) / (2 * diversity) * scores)
    kernel = growth[:, None] * (unit @ unit.T) * growth[None, :]
    for place in range(6):
        listed = found[:place]
        free = [i for i in range(8) if i not in listed]
        volumes = [np.linalg.det(kernel[np.ix_([*listed, i], [*listed, i])]) for i in free]
        if diversity == 1 and place == 0:
            assert found[0] == scores.argmax()  # all volumes are 1
        else:
            assert found[place] == free[int(np.argmax(volumes))]


def test_items_that_span_nothing_new_come_last_by_score():
    scores = float32(5, 4, 3, 2, 1)
    similar = jaccard_similarity(genres_of({0}, {0}, {1}, {1}, {2}))
    assert dpp(scores, similar, 5, diversity=0.9).tolist() == [0, 2, 4, 1, 3]
    assert dpp(scores, similar, 5, diversity=0).tolist() == [0, 1, 2, 3, 4]


def test_large_scores_do_not_overflow():
    scores = float32(3e6, 2e6, 1e6)
    assert dpp(scores, matrix_similarity(np.eye(3)), 3, diversity=0.01).tolist() == [0, 1, 2]


def test_diversity_out_of_range_is_named():
    with pytest.raises(ConfigError, match="dpp: diversity must be a number from 0 to 1, got -1"):
        dpp(float32(1), matrix_similarity(np.eye(1)), 1, diversity=-1)

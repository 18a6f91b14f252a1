"""Stage 1 on planted items: the text vector is a linear map of the item vector, with noise."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import sparse

from warmstart.collaborative_lm.alignment import (
    AlignmentConfig,
    AlignmentTrainee,
    NextItems,
    new_alignment,
    spread,
)
from warmstart.collaborative_lm.items import AlignedItems
from warmstart.collaborative_lm.ridge_alignment import RidgeAlignment, RidgeAlignmentConfig

N_WARM, N_COLD, ITEM_WIDTH, TEXT_WIDTH = 150, 60, 8, 12
BASE = {"width": 16, "batch_size": 200, "learning_rate": 0.02, "epochs": 60}


@pytest.fixture(scope="module")
def planted():
    rng = np.random.default_rng(0)
    items = rng.normal(size=(N_WARM + N_COLD, ITEM_WIDTH)).astype(np.float32)
    texts = items @ rng.normal(size=(ITEM_WIDTH, TEXT_WIDTH)) / 10
    texts += rng.normal(size=texts.shape) / 10
    return items, texts.astype(np.float32)


def trained(planted, permuted=False, **settings):
    items, texts = planted
    rng = np.random.default_rng(1)
    if permuted:
        texts = texts[rng.permutation(len(texts))]
    config = AlignmentConfig(**{**BASE, **settings})
    events = rng.integers(N_WARM, size=1000)
    states = items[events] * 2 + rng.normal(size=(1000, ITEM_WIDTH)).astype(np.float32)
    owners = np.arange(1000)
    seen = sparse.csr_matrix((np.ones(1000), (owners, events)), shape=(1000, N_WARM))
    following = NextItems(states.astype(np.float32), events, owners, seen)
    alignment = new_alignment(items[:N_WARM], texts[:N_WARM], config.width, rng)
    trainee = AlignmentTrainee(alignment, items[:N_WARM], texts[:N_WARM], following, config)
    for epoch in range(1, config.epochs + 1):
        list(trainee.epoch(np.random.default_rng(epoch), epoch))
    return AlignedItems(alignment, items[:N_WARM], texts)


def cosine_of_cold(planted, aligned):
    """Mean cosine of the cold items' decoded texts and their true vectors."""
    found, true = aligned.scoring[N_WARM:], planted[0][N_WARM:]
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(true, axis=1)
    return float(((found * true).sum(axis=1) / norms).mean())


@pytest.mark.parametrize("loss", ["softmax", "bce"])
def test_texts_of_new_items_become_their_vectors(planted, loss):
    aligned = trained(planted, recommendation_loss=loss, text_recommendation_weight=0.0)
    assert cosine_of_cold(planted, aligned) > 0.8


def test_permuted_texts_tell_nothing_of_new_items(planted):
    assert abs(cosine_of_cold(planted, trained(planted, permuted=True))) < 0.3


def test_without_matching_the_decoder_cannot_read_texts(planted):
    aligned = trained(planted, match_weight=0.0, text_recommendation_weight=0.0)
    assert abs(cosine_of_cold(planted, aligned)) < 0.5
    assert cosine_of_cold(planted, trained(planted, match_weight=0.0)) > 0.7


def test_matching_alone_collapses_and_reconstruction_prevents_it(planted):
    """Nothing but matching: e and q of all items move to one point."""
    nothing = {"recommendation_weight": 0.0, "text_recommendation_weight": 0.0}
    alone = trained(planted, item_weight=0.0, text_weight=0.0, epochs=300, **nothing)
    whole = trained(planted, epochs=300, **nothing)
    assert spread(alone.joint)["variance"] < 0.1 * spread(whole.joint)["variance"]


def test_vectors_of_items_survive_the_way_through_the_joint_space(planted):
    found = trained(planted).scoring[:N_WARM]
    assert np.square(found - planted[0][:N_WARM]).mean() < 0.1


def test_the_recommendation_loss_takes_products_not_means(planted):
    """A published flaw: the mean over the width is a logit too small by that factor."""
    items, texts = planted
    config = AlignmentConfig(
        **{**BASE, "match_weight": 0, "item_weight": 0, "text_weight": 0},
        recommendation_loss="bce",
        text_recommendation_weight=0,
    )
    alignment = new_alignment(items[:2], texts[:2], 16, np.random.default_rng(0))
    seen = sparse.csr_matrix(np.array([[1.0, 0.0]]))
    following = NextItems(items[:1] * 3, np.array([0]), np.array([0]), seen)
    trainee = AlignmentTrainee(alignment, items[:2], texts[:2], following, config)
    with torch.no_grad():
        loss = float(trainee.loss(np.array([0]), np.random.default_rng(0)))
    decoded = alignment.decoded(alignment.joint(items[:2], "item"))
    logits = decoded @ items[0] * 3
    assert loss == pytest.approx(np.logaddexp(0, -logits[0]) + np.logaddexp(0, logits[1]), rel=1e-4)


def test_items_without_text_have_no_part_in_matching(planted):
    items, texts = planted
    texts = texts[:N_WARM].copy()
    texts[::2] = 0
    only = {"item_weight": 0.0, "recommendation_weight": 0.0, "text_recommendation_weight": 0.0}
    config = AlignmentConfig(**BASE, **only)
    alignment = new_alignment(items[:N_WARM], texts, 16, np.random.default_rng(0))
    seen = sparse.csr_matrix((1, N_WARM))
    following = NextItems(items[:1], np.array([0]), np.array([0]), seen)
    trainee = AlignmentTrainee(alignment, items[:N_WARM], texts, following, config)
    trainee.items = trainee.items.clone()
    trainee.items[::2] = 1e4  # these are far from anything
    rng = np.random.default_rng(0)
    with torch.no_grad():
        losses = [float(trainee.loss(np.array([0]), rng)) for _ in range(20)]
    assert max(losses) < 5


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_a_regression_stands_in_for_the_autoencoders(planted, kernel):
    items, texts = planted
    config = RidgeAlignmentConfig(ridge={"kernel": kernel, "l2": 0.1, "gamma": 0.2})
    told = texts[:N_WARM].copy()
    told[:3] = 0  # without text
    ridge = RidgeAlignment.fit(config, items[:N_WARM], told)
    aligned = AlignedItems(ridge, items[:N_WARM], texts)
    np.testing.assert_array_equal(aligned.scoring[:N_WARM], items[:N_WARM])
    assert cosine_of_cold(planted, aligned) > 0.8
    lengths = np.linalg.norm(aligned.scoring[N_WARM:], axis=1)
    np.testing.assert_allclose(lengths, np.linalg.norm(items[:N_WARM], axis=1).mean(), rtol=1e-4)
    again = AlignedItems(RidgeAlignment.restore(config, ridge.state()), items[:N_WARM], texts)
    np.testing.assert_array_equal(again.scoring, aligned.scoring)
    permuted = texts[np.random.default_rng(0).permutation(len(texts))]
    wrong = RidgeAlignment.fit(config, items[:N_WARM], permuted[:N_WARM])
    assert abs(cosine_of_cold(planted, AlignedItems(wrong, items[:N_WARM], permuted))) < 0.3


def test_warm_items_may_be_represented_by_their_texts(planted):
    aligned = trained(planted, epochs=5)
    texts = aligned.texts.copy()
    texts[:3] = 0
    found = replace(aligned, texts=texts, warm_items="texts")
    np.testing.assert_allclose(found.joint[:3], aligned.joint[:3], atol=1e-6)  # there is no text
    np.testing.assert_allclose(found.joint[3:], aligned.joint_of_texts[3:], atol=1e-6)
    np.testing.assert_array_equal(found.readable[:N_WARM], aligned.readable[:N_WARM])
    new = found.new(aligned.texts[N_WARM:])
    np.testing.assert_allclose(new.scoring, found.scoring[N_WARM:], atol=1e-5)


def test_spread_measures_variance_and_effective_rank():
    rng = np.random.default_rng(0)
    full = rng.normal(size=(5000, 6))
    assert spread(full)["rank"] == pytest.approx(6, abs=0.05)
    assert spread(full)["variance"] == pytest.approx(1, abs=0.05)
    flat = full.copy()
    flat[:, 2:] = 3.0
    assert spread(flat)["rank"] == pytest.approx(2, abs=0.05)
    assert spread(np.ones((10, 4))) == {"variance": 0.0, "rank": 0.0}


def test_new_items_alone_are_what_they_are_in_the_catalogue(planted):
    aligned = trained(planted, epochs=5)
    for new in (aligned.new(aligned.texts[N_WARM:]),):
        for name in ("scoring", "slots", "random_slots"):
            np.testing.assert_allclose(
                getattr(new, name), getattr(aligned, name)[N_WARM:], atol=1e-5
            )
    short = AlignedItems(aligned.alignment, aligned.learned, aligned.texts[:-5])
    grown = short.extended(aligned.texts[-5:])
    np.testing.assert_allclose(grown.slots, aligned.slots, atol=1e-5)
    assert grown.has_learned.sum() == N_WARM

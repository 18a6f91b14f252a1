"""The heads of the networks, compared with loops; what DIN reads from a history."""

import json

import numpy as np
import pytest
import torch
from scipy.special import logit

from warmstart.backbones.click import ClickData, build
from warmstart.backbones.click.deepfm import DeepFmConfig, DeepFmHead, mean_item
from warmstart.backbones.click.din import DinConfig, DinHead, interest
from warmstart.backbones.click.logistic import LogisticCtrConfig, RateRegression
from warmstart.backbones.click.tables import Fields
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.data.ratings import Ratings
from warmstart.evaluation.labels import auc, log_loss


def fields(batch=5, length=4, width=3):
    generator = torch.Generator().manual_seed(0)
    given = [(torch.rand(batch, length, 1, generator=generator) < 0.6).float() for _ in range(2)]
    lists = [torch.randn(batch, length, width, generator=generator) * mask for mask in given]
    user, item = (torch.randn(batch, width, generator=generator) for _ in range(2))
    return Fields(user, item, *lists, *given)


def test_a_factorisation_machine_is_the_sum_of_the_products_of_all_pairs():
    given = fields()
    found = DeepFmHead(3, ())(given)
    for row in range(5):
        vectors = [
            given.user[row],
            given.item[row],
            given.liked[row].sum(0) / (given.liked_given[row].sum() + 1),
            -given.disliked[row].sum(0) / (given.disliked_given[row].sum() + 1),
        ]
        expected = sum(vectors[f] @ vectors[g] for f in range(4) for g in range(f))
        assert found[row].item() == pytest.approx(expected.item(), abs=1e-5)


def test_din_is_the_products_of_the_candidate_with_user_and_interests():
    given = fields()
    found = DinHead(3, ())(given)
    for row in range(5):
        item, interests = given.item[row], []
        for items, mask in (
            (given.liked[row], given.liked_given[row, :, 0]),
            (given.disliked[row], given.disliked_given[row, :, 0]),
        ):
            held = items[mask == 1]
            weights = torch.softmax(held @ item, dim=0)
            interests.append(weights @ held)
        expected = (given.user[row] + interests[0] - interests[1]) @ item
        assert found[row].item() == pytest.approx(expected.item(), abs=1e-5)


def test_the_deep_part_starts_at_zero_and_is_added():
    given = fields()
    for head, wide in (
        (DeepFmHead(3, (8, 4)), DeepFmHead(3, ())),
        (DinHead(3, (8,)), DinHead(3, ())),
    ):
        torch.testing.assert_close(head(given), wide(given))
        torch.nn.init.ones_(head.deep[-1].bias)
        torch.testing.assert_close(head(given), wide(given) + 1)


def test_an_interest_is_drawn_to_what_is_like_the_candidate():
    items = torch.tensor([[[4.0, 0.0], [0.0, 4.0], [0.0, 0.0]]])
    given = torch.tensor([[[1.0], [1.0], [0.0]]])
    for candidate, expected in (([3.0, 0.0], [4, 0]), ([0.0, 3.0], [0, 4]), ([0.0, 0.0], [2, 2])):
        found = interest(torch.tensor([candidate]), items, given)[0]
        assert found.tolist() == pytest.approx(expected, abs=1e-3)


def test_padding_and_order_do_not_matter():
    given = fields()
    more = torch.cat([torch.zeros(5, 2, 3), given.liked], dim=1)
    more_given = torch.cat([torch.zeros(5, 2, 1), given.liked_given], dim=1)
    turned, turned_given = given.liked.flip(1), given.liked_given.flip(1)
    for pool in (
        lambda items, mask: interest(given.item, items, mask),
        mean_item,
    ):
        expected = pool(given.liked, given.liked_given)
        torch.testing.assert_close(pool(more, more_given), expected)
        torch.testing.assert_close(pool(turned, turned_given), expected)
        empty = pool(torch.zeros(5, 4, 3), torch.zeros(5, 4, 1))
        assert (empty == 0).all()


N_GROUPS, PER_GROUP = 5, 8


def followers(n_users, seed):
    """Users who like one group of items, at positions 0 to 13 seven of it and seven others."""
    rng = np.random.default_rng(seed)
    group_of = np.arange(N_GROUPS * PER_GROUP) % N_GROUPS

    def rated(group):
        own, other = np.flatnonzero(group_of == group), np.flatnonzero(group_of != group)
        return rng.permutation([*rng.permutation(own)[:7], *rng.permutation(other)[:7]])

    taste = rng.integers(N_GROUPS, size=n_users)
    items = np.concatenate([rated(group) for group in taste]).astype(np.int32)
    users = np.repeat(np.arange(n_users, dtype=np.int32), 14)
    values = np.where(group_of[items] == taste[users], 5, 1).astype(np.float32)
    return Ratings(users, items, values, np.tile(np.arange(14), n_users)), taste


@pytest.mark.parametrize("kind", [DinConfig, DeepFmConfig])
def test_unknown_users_are_predicted_from_the_overlap_with_their_history(kind):
    train, _ = followers(250, seed=0)
    data = ClickData.from_ratings(train, threshold=4, n_users=250, n_items=N_GROUPS * PER_GROUP)
    config = kind(
        base=None, width=8, epochs=15, batch_size=256, learning_rate=0.02, id_dropout=0.5, l2=0.01
    )
    model = build(config).fit(data, rng=np.random.default_rng(0))
    test, taste = followers(60, seed=1)
    last = np.arange(60) * 14 + 13
    before = test.where(np.setdiff1d(np.arange(len(test)), last)).histories(60)
    items, labels = test.items[last], test.labels(4)[last]

    def measured(histories):
        return auc(labels, model.predict_proba(Queries.of_histories(histories), items))

    assert measured(before) > 0.9
    assert 0.3 < measured(Histories.from_lists([[]] * 60)) < 0.7
    # With the history of somebody who likes another group the prediction follows the history.
    other = np.array([np.flatnonzero(taste != own)[0] for own in taste])
    foreign = before.take(other)
    follows = items % N_GROUPS == taste[other]
    found = model.predict_proba(Queries.of_histories(foreign), items)
    assert auc(follows, found) > 0.9
    # Turned ratings: what was liked is disliked.
    turned = Histories(before.offsets, before.items, ratings=6 - before.ratings)
    assert measured(turned) < 0.2


def test_users_and_items_without_training_pairs_have_no_vector(world):
    model = build(DinConfig(width=4, epochs=2, hidden=(4,))).fit(
        world.train.take(world.train.users < 40), rng=np.random.default_rng(0)
    )
    state = model.state()
    for name in ("vectors.users", "vectors.user_biases"):
        assert (state[name][40:] == 0).all()
        assert (state[name][:40] != 0).all()
    without_attributes = build(DinConfig(width=4, epochs=2)).fit(
        type(world.train)(
            world.train.users, world.train.items, world.train.labels, world.train.histories,
            80, 60, 4.0,
        ),
        rng=np.random.default_rng(0),
    ).state()  # fmt: skip
    assert (without_attributes["vectors.items"][54:] == 0).all()
    assert (without_attributes["vectors.items"][:54] != 0).all()
    # The padding row is 0 even where items have features.
    assert (state["vectors.items"][-1] == 0).all()
    assert (state["vectors.items"][54:58] != 0).all()


def test_a_network_without_epochs_is_its_base(world):
    regression = build(LogisticCtrConfig()).fit(world.train, rng=np.random.default_rng(0))
    network = build(DinConfig(epochs=0)).fit(world.train, rng=np.random.default_rng(0))
    np.testing.assert_allclose(
        network.predict_proba(world.held_out, world.items),
        regression.predict_proba(world.held_out, world.items),
        atol=5e-3,
    )


@pytest.mark.parametrize("base", [LogisticCtrConfig(), None])
def test_the_loss_of_the_training_includes_the_base(world, tmp_path, base):
    config = DeepFmConfig(base=base, epochs=1, learning_rate=1e-9, l2=0)
    build(config).fit(world.train, rng=np.random.default_rng(0), run_folder=tmp_path)
    loss = json.loads((tmp_path / "log.jsonl").read_text())["loss"]
    logits = np.zeros(len(world.train))
    if base is not None:
        _, logits = RateRegression.fit(base, world.train)
    expected = log_loss(world.train.labels, 1 / (1 + np.exp(-logits)))
    assert loss == pytest.approx(expected, abs=2e-3)


def test_the_regulariser_shrinks_vectors_and_biases(world):
    def norms(l2):
        config = DeepFmConfig(
            base=None, epochs=3, batch_size=64, learning_rate=0.02, l2=l2, width=4
        )
        state = build(config).fit(world.train, rng=np.random.default_rng(0)).state()
        return np.array(
            [np.linalg.norm(state[f"vectors.{name}"]) for name in ("users", "user_biases")]
        )

    assert (norms(1.0) < 0.5 * norms(0.0)).all()


@pytest.mark.parametrize("kind", [DinConfig, DeepFmConfig])
def test_biases_are_added_to_the_log_odds(world, kind):
    model = build(kind(epochs=1)).fit(world.train, rng=np.random.default_rng(0))
    queries, items = Queries.of_users([3, 4, -1, -1]), np.array([7, 7, 7, 8], np.int32)
    before = model.predict_proba(queries, items)
    state = {name: array.copy() for name, array in model.state().items()}
    state["vectors.user_biases"][3] += 1
    state["vectors.item_biases"][8] -= 2
    after = build(kind(epochs=1)).restore(state).predict_proba(queries, items)
    np.testing.assert_allclose(logit(after) - logit(before), [1, 0, 0, -2], atol=1e-5)

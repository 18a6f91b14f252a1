"""What only FISM promises: a state that is a sum over the history."""

import numpy as np
import pytest
import torch

from tests.backbones.sequence.conftest import CONFIGS, N_ITEMS
from warmstart.backbones.sequence.fism import Fism, FismConfig
from warmstart.data.histories import Histories
from warmstart.errors import ConfigError


@pytest.fixture(scope="module")
def plain(train):
    """Without normalisation, so that states are the published sums."""
    config = CONFIGS["fism"].model_copy(update={"temperature": None, "epochs": 2})
    return Fism(config).fit(train, N_ITEMS, rng=np.random.default_rng(0))


def test_the_order_of_a_history_changes_nothing(fitted_once, train):
    backbone, rng = fitted_once(CONFIGS["fism"]), np.random.default_rng(0)
    shuffled = Histories.from_lists([rng.permutation(train[row]) for row in range(len(train))])
    assert (shuffled.items != train.items).any()
    np.testing.assert_allclose(backbone.encode(shuffled), backbone.encode(train), atol=1e-4)


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_states_are_sums_over_a_power_of_the_length(alpha, plain):
    """Also in a batch with a longer history, which pads the short ones."""
    backbone = Fism(plain.config.model_copy(update={"alpha": alpha})).restore(plain.state())
    walks = [[3], [3, 4, 4, 9], list(range(12))]
    weight, bias = (plain.state()[f"network/output.{name}"] for name in ("weight", "bias"))
    assert np.abs(bias).max() > 0
    sums = [plain.item_vectors[walk].sum(axis=0) / len(walk) ** alpha for walk in walks]
    found = backbone.encode(Histories.from_lists(walks))
    np.testing.assert_allclose(found, np.stack(sums) @ weight.T + bias, atol=1e-5)


def test_what_pads_a_history_is_not_summed(plain):
    network = plain._learned.eval()
    with torch.no_grad():
        first, second = (
            network.read(
                torch.cat(
                    [network.items[None, :2], padding.expand(1, 3, plain.config.width)], dim=1
                )
            )
            for padding in (torch.zeros(()), torch.full((), 1e6))
        )
    torch.testing.assert_close(first[:, :2], second[:, :2])


def test_new_items_are_read_by_their_vectors(plain):
    """A new item with the vector of a learned one is read as that one is."""
    vectors = np.concatenate([plain.item_vectors, plain.item_vectors[[7]]])
    (known,) = plain.encode(Histories.from_lists([[3, 7]]))
    (new,) = plain.encode(Histories.from_lists([[3, N_ITEMS]]), vectors)
    np.testing.assert_allclose(new, known, atol=1e-6)
    assert not np.allclose(new, plain.encode(Histories.from_lists([[3]]))[0])


def test_training_makes_reading_differ_from_scoring(fitted_once):
    """After item i comes i + 1, so the best item for a history of one is not that item."""
    backbone = fitted_once(CONFIGS["fism"])
    scores = backbone.encode(Histories.from_lists([[i] for i in range(20)])) @ (
        backbone.item_vectors[:20].T
    )
    assert (scores.argmax(axis=1) == (np.arange(20) + 1) % 20).mean() > 0.9


def test_alpha_is_between_a_sum_and_a_mean():
    with pytest.raises(ConfigError, match="alpha"):
        FismConfig.build({"alpha": 1.5})

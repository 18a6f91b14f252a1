"""From the vectors of a title's tokens to one vector."""

import numpy as np
import pytest
import torch

from warmstart.conversation.aggregator import Aggregator
from warmstart.errors import ConfigError
from warmstart.train.module_arrays import load_arrays, module_arrays
from warmstart.train.seed import torch_seed

KINDS = ["mean", "sum", "weighted", "gru", "transformer"]
WIDTH = 16


def make(kind, seed=0, width=WIDTH):
    with torch_seed(np.random.default_rng(seed)):
        made = Aggregator(kind, width, 8, tokens=2.5, input_scale=0.5).eval()
    if kind == "weighted":
        made.own.places.data = torch.linspace(0, 3, 8)
    return made


@pytest.fixture
def titles():
    """Two titles of 2 and 5 tokens."""
    vectors = torch.randn(2, 5, WIDTH, generator=torch.Generator().manual_seed(1))
    return vectors, torch.tensor([2, 5])


@pytest.mark.parametrize("kind", KINDS)
def test_padding_is_not_read(kind, titles):
    aggregator, (vectors, lengths) = make(kind), titles
    found = aggregator(vectors, lengths)
    padded = vectors.clone()
    padded[0, 2:] = 100.0
    torch.testing.assert_close(aggregator(padded, lengths), found)
    alone = aggregator(vectors[:1, :2], lengths[:1])
    torch.testing.assert_close(alone, found[:1], rtol=1e-4, atol=1e-5)
    assert found.shape == (2, WIDTH)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", [0, 1])
def test_every_token_counts(kind, place, titles):
    aggregator, (vectors, lengths) = make(kind), titles
    other = vectors.clone()
    other[0, place] += 1.0
    difference = (aggregator(other, lengths) - aggregator(vectors, lengths)).abs().amax(dim=1)
    assert difference[0] > 1e-3
    assert difference[1] == 0


@pytest.mark.parametrize("kind", KINDS)
def test_only_gru_and_weights_read_the_order(kind, titles):
    aggregator, (vectors, lengths) = make(kind), titles
    swapped = vectors.clone()
    swapped[0, :2] = vectors[0, [1, 0]]
    same = torch.allclose(aggregator(swapped, lengths)[0], aggregator(vectors, lengths)[0])
    assert same == (kind in ("mean", "sum"))


def test_mean_and_sum_are_what_they_say(titles):
    vectors, lengths = titles
    mean = torch.stack([vectors[0, :2].mean(0), vectors[1].mean(0)])
    torch.testing.assert_close(make("mean")(vectors, lengths), mean)
    total = torch.stack([vectors[0, :2].sum(0), vectors[1].sum(0)])
    torch.testing.assert_close(make("sum")(vectors, lengths), total / 2.5)


@pytest.mark.parametrize("kind", ["weighted", "gru", "transformer"])
def test_the_scale_of_the_table_does_not_matter(kind, titles):
    vectors, lengths = titles
    small = make(kind)
    with torch_seed(np.random.default_rng(0)):
        large = Aggregator(kind, WIDTH, 8, tokens=2.5, input_scale=50.0).eval()
    if kind == "weighted":
        large.own.places.data = small.own.places.data
    torch.testing.assert_close(large(vectors * 100, lengths), small(vectors, lengths))


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_restore_an_aggregator(kind, titles):
    aggregator, other = make(kind), make(kind, seed=5)
    load_arrays(other, module_arrays(aggregator))
    torch.testing.assert_close(other(*titles), aggregator(*titles))


def test_only_the_mean_has_nothing_to_train():
    trained = {kind: sum(p.numel() for p in make(kind).parameters()) for kind in KINDS}
    assert trained["mean"] == 0
    assert trained["sum"] == 1
    assert min(trained[kind] for kind in KINDS[2:]) > WIDTH


def test_a_width_that_heads_do_not_divide():
    with pytest.raises(ConfigError, match="8 heads, but the LM has width 12"):
        make("transformer", width=12)
    assert make("gru", width=12)(torch.zeros(1, 2, 12), torch.tensor([2])).shape == (1, 12)

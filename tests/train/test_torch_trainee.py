"""Steps of gradient descent: accumulation, clipping, learning rates, and their state."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from warmstart.train import Schedule, StepConfig, TorchTrainee, run_epochs


class Line(TorchTrainee):
    """Two parameters with learning rates 0.1 and 0.2, moved by plain gradient descent."""

    def __init__(self, **steps):
        self.a, self.b = (torch.zeros(1, dtype=torch.float64, requires_grad=True) for _ in "ab")
        groups = [{"params": [self.a], "lr": 0.1}, {"params": [self.b], "lr": 0.2}]
        super().__init__({"a": self.a, "b": self.b}, torch.optim.SGD(groups), StepConfig(**steps))

    def epoch(self, rng, epoch):
        yield self.step((self.a + self.b).sum())

    def move(self, slope_a, slope_b):
        """Take a step on a loss with this gradient; return how far the parameters moved."""
        before = self.a.item(), self.b.item()
        self.step((slope_a * self.a + slope_b * self.b).sum())
        return self.a.item() - before[0], self.b.item() - before[1]


class Network(TorchTrainee):
    """A regression by a small network on random micro-batches."""

    def __init__(self, batch_size=4, batches=8, dtype=torch.float64, **steps):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(5)
            layers = torch.nn.Linear(6, 5, dtype=dtype), torch.nn.Linear(5, 1, dtype=dtype)
        self.network = torch.nn.Sequential(layers[0], torch.nn.Tanh(), layers[1])
        optimiser = torch.optim.AdamW(
            [{"params": layers[0].parameters()}, {"params": layers[1].parameters(), "lr": 0.01}],
            lr=0.05,
            eps=0.1,  # with a small one Adam's updates do not depend on the size of gradients
        )
        named = dict(self.network.named_parameters())
        super().__init__(named, optimiser, StepConfig(**steps))
        self.batch_size, self.batches, self.dtype = batch_size, batches, dtype
        self.die_in = 0

    def epoch(self, rng, epoch):
        inputs = torch.from_numpy(rng.normal(size=(self.batch_size * self.batches, 6)))
        for number, x in enumerate(inputs.to(self.dtype).split(self.batch_size)):
            if epoch == self.die_in and number:
                raise KeyboardInterrupt
            yield self.step((self.network(x) - x.sin().sum(1, keepdim=True)).square().mean())


def trained(trainee, epochs=3, **arguments):
    run_epochs(trainee, Schedule(epochs), np.random.default_rng(3), **arguments)
    return trainee


def assert_equal(one, other):
    for found, expected in (
        (one.state(), other.state()),
        (one.optimiser_state(), other.optimiser_state()),
    ):
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_each_loss_moves_the_parameters_by_its_gradient():
    line = Line()
    assert line.move(3.0, 4.0) == pytest.approx((-0.3, -0.8))
    assert line.move(-1.0, 0.0) == pytest.approx((0.1, 0.0))
    assert line.step((line.a + 2).sum()) == pytest.approx(1.8)


def test_a_batch_of_8_is_2_micro_batches_of_4():
    whole = trained(Network(batch_size=8, batches=4))
    halves = trained(Network(batch_size=4, batches=8, accumulate=2))
    for name, array in whole.state().items():
        np.testing.assert_allclose(halves.state()[name], array, rtol=1e-10, err_msg=name)
    start = Network().state()
    assert all(np.abs(array - start[name]).max() > 1e-3 for name, array in whole.state().items())


def test_gradients_are_averaged_and_the_last_of_an_epoch_count_fully():
    line = Line(accumulate=2)
    assert line.move(1.0, 10.0) == (0.0, 0.0)
    assert line.move(3.0, 30.0) == pytest.approx((-0.2, -4.0))
    assert line.move(5.0, 0.0) == (0.0, 0.0)
    before = line.a.item()
    line.end_epoch()
    assert line.a.item() - before == pytest.approx(-0.5)
    line.end_epoch()
    assert line.a.item() - before == pytest.approx(-0.5), "nothing was left"


def test_the_loop_ends_epochs():
    assert trained(Line(accumulate=2), epochs=3).a.item() == pytest.approx(-0.3)


def test_a_gradient_of_norm_5_is_clipped_to_norm_1():
    assert Line(clip_norm=1.0).move(3.0, 4.0) == pytest.approx((-0.06, -0.16), rel=1e-5)
    assert Line(clip_norm=5.5).move(3.0, 4.0) == pytest.approx((-0.3, -0.8))
    accumulating = Line(clip_norm=1.0, accumulate=2)
    accumulating.move(6.0, 0.0)
    assert accumulating.move(0.0, 8.0) == pytest.approx((-0.06, -0.16), rel=1e-5)


@pytest.mark.parametrize(
    ("steps", "factors"),
    [
        ({}, [1, 1, 1, 1]),
        ({"warmup_steps": 4}, [0.25, 0.5, 0.75, 1, 1, 1]),
        ({"total_steps": 4}, [1, 0.75, 0.5, 0.25, 0, 0]),
        ({"warmup_steps": 2, "total_steps": 6}, [0.5, 1, 1, 0.75, 0.5, 0.25, 0]),
    ],
)
def test_learning_rates_rise_and_fall_linearly(steps, factors):
    line = Line(**steps)
    moves = [line.move(-1.0, -1.0) for _ in factors]
    assert moves == [pytest.approx((0.1 * factor, 0.2 * factor)) for factor in factors]


def test_warm_up_counts_updates_not_micro_batches():
    line = Line(warmup_steps=2, accumulate=2)
    moves = [line.move(-1.0, 0.0)[0] for _ in range(6)]
    assert moves == pytest.approx([0, 0.05, 0, 0.1, 0, 0.1])


@pytest.mark.parametrize("die_in", [1, 2, 4])
def test_a_killed_run_with_all_settings_resumes_bit_for_bit(die_in, tmp_path):
    # Three micro-batches an epoch: an epoch ends within an accumulation and within the warm-up.
    settings = {"accumulate": 2, "clip_norm": 0.3, "warmup_steps": 5, "total_steps": 12}
    network = {"batches": 3, "dtype": torch.float32, **settings}
    expected = trained(Network(**network), epochs=5)
    killed = Network(**network)
    killed.die_in = die_in
    with pytest.raises(KeyboardInterrupt):
        trained(killed, epochs=5, folder=tmp_path, checkpoint_seconds=0)
    again = trained(Network(**network), epochs=5, folder=tmp_path, checkpoint_seconds=0)
    assert_equal(again, expected)


def test_the_state_restores_the_optimiser_and_forgets_accumulated_gradients():
    settings = {"accumulate": 2, "warmup_steps": 100, "dtype": torch.float32}
    trainee = trained(Network(**settings), epochs=2)
    other = Network(**settings)
    other.step(other.network(torch.ones(1, 6)).sum())
    other.restore(trainee.state())
    other.restore_optimiser(trainee.optimiser_state())
    assert_equal(other, trainee)
    assert_equal(trained(other, epochs=1), trained(trainee, epochs=1))


def test_a_warm_up_longer_than_the_training_is_refused():
    with pytest.raises(ValidationError, match="warmup_steps must be below total_steps = 5, got 5"):
        StepConfig(warmup_steps=5, total_steps=5)

"""The training loop: best epoch, early stopping, resume after a kill, clear errors."""

import json

import numpy as np
import pytest
import torch

from warmstart.errors import ArtefactError, ConfigError
from warmstart.train import Schedule, TorchTrainee, Trainee, run_epochs, torch_generator


class Walk(Trainee):
    """A parameter that takes one random step with momentum per epoch; counts its epochs."""

    def __init__(self, die_in=None):
        self.place, self.speed = np.zeros(3), np.zeros(3)
        self.die_in, self.trained = die_in, 0

    def epoch(self, rng, epoch):
        if epoch == self.die_in:
            raise KeyboardInterrupt
        self.trained += 1
        self.speed = 0.5 * self.speed + rng.normal(size=3)
        self.place = self.place + self.speed
        yield 1.0
        yield 2.0

    def state(self):
        return {"place": self.place}

    def restore(self, state):
        self.place = state["place"]

    def optimiser_state(self):
        return {"speed": self.speed}

    def restore_optimiser(self, state):
        self.speed = state["speed"]


class Regression(TorchTrainee):
    """Least squares with Adam on random batches."""

    def __init__(self, die_in=None):
        self.weight = torch.zeros(4, requires_grad=True)
        super().__init__({"weight": self.weight}, torch.optim.Adam([self.weight], lr=0.1))
        self.die_in = die_in

    def epoch(self, rng, epoch):
        generator = torch_generator(rng)
        for _ in range(3):
            if epoch == self.die_in:
                raise KeyboardInterrupt
            x = torch.randn(8, 4, generator=generator)
            yield self.step(((x @ self.weight - x.sum(1)) ** 2).mean())


def run(trainee, epochs=8, folder=None, validate=None, patience=100, seed=3, **settings):
    schedule = Schedule(
        epochs,
        validate_every=settings.pop("every", 1),
        patience=patience,
        metric="score",
        keep_start=settings.pop("keep_start", False),
    )
    return run_epochs(
        trainee,
        schedule,
        np.random.default_rng(seed),
        validate=validate,
        folder=folder,
        checkpoint_seconds=0,
        **settings,
    )


def test_without_validation_the_last_epoch_is_kept():
    walk = Walk()
    result = run(walk)
    assert (walk.trained, result.best_epoch, result.metric) == (8, 8, None)
    assert [row["loss"] for row in result.history] == [1.5] * 8
    assert all("score" not in row for row in result.history)


def test_the_best_epoch_is_restored_not_the_last():
    walk, places = Walk(), []
    metrics = iter([1.0, 5.0, 2.0, 3.0])

    def validate():
        places.append(walk.place.copy())
        return next(metrics)

    result = run(walk, epochs=4, validate=validate)
    assert (result.best_epoch, result.metric) == (2, 5.0)
    np.testing.assert_array_equal(walk.place, places[1])


def test_training_stops_after_its_patience_and_validates_the_last_epoch():
    walk = Walk()
    metrics = iter([3.0, 2.0, 1.0, 0.0])
    result = run(walk, epochs=50, validate=lambda: next(metrics), patience=2, every=5)
    assert (walk.trained, result.best_epoch) == (15, 5)
    walk = Walk()
    result = run(walk, epochs=7, validate=lambda: float(walk.trained), every=5)
    assert [row["epoch"] for row in result.history if "score" in row] == [5, 7]
    assert result.best_epoch == 7


@pytest.mark.parametrize("kind", [Walk, Regression])
@pytest.mark.parametrize("die_in", [2, 6])
def test_a_killed_run_resumes_to_the_same_end(kind, die_in, tmp_path):
    def validate(trainee):
        return lambda: float(next(iter(trainee.state().values())).sum())

    uninterrupted = kind()
    expected = run(uninterrupted, validate=validate(uninterrupted))
    killed = kind(die_in=die_in)
    with pytest.raises(KeyboardInterrupt):
        run(killed, folder=tmp_path, validate=validate(killed))
    again = kind()
    result = run(again, folder=tmp_path, validate=validate(again))
    assert result.best_epoch == expected.best_epoch
    assert result.metric == expected.metric
    for name, array in uninterrupted.state().items():
        np.testing.assert_array_equal(again.state()[name], array)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in log] == list(range(1, 9))
    assert [row["loss"] for row in log] == [row["loss"] for row in expected.history]


def run_with_start(metrics, **settings):
    """Train with ``keep_start``; the validations return ``metrics``. Return walk and result."""
    walk, values = Walk(), iter(metrics)
    return walk, run(walk, validate=lambda: next(values), keep_start=True, **settings)


def test_a_start_that_is_better_than_all_epochs_is_restored():
    walk, result = run_with_start([5.0, 1.0, 2.0, 4.0], epochs=3)
    assert (walk.trained, result.best_epoch, result.metric) == (3, 0, 5.0)
    np.testing.assert_array_equal(walk.place, np.zeros(3))
    assert [(row["epoch"], row["score"]) for row in result.history] == [
        *((0, 5.0), (1, 1.0), (2, 2.0), (3, 4.0))
    ]


def test_an_epoch_that_is_better_than_the_start_is_kept():
    walk, result = run_with_start([2.0, 1.0, 3.0, 2.5], epochs=3)
    assert (result.best_epoch, result.metric) == (2, 3.0)
    other = Walk()
    run(other, epochs=2)
    np.testing.assert_array_equal(walk.place, other.place)


def test_at_a_tie_the_first_epoch_is_kept_not_the_start():
    walk, result = run_with_start([2.0, 1.0, 2.0, 2.0], epochs=3)
    assert (result.best_epoch, result.metric) == (2, 2.0)
    assert walk.place.any()


def test_the_start_does_not_count_for_patience():
    walk, result = run_with_start([9.0, 1.0, 2.0, 3.0, 10.0], epochs=4, patience=1)
    assert (walk.trained, result.best_epoch) == (4, 4)
    walk, result = run_with_start([9.0, 3.0, 2.0, 1.0], epochs=50, patience=2)
    assert (walk.trained, result.best_epoch) == (3, 0)


def test_the_start_is_validated_whatever_the_interval():
    walk, result = run_with_start([3.0, 1.0, 2.0], epochs=4, every=3)
    assert [row["epoch"] for row in result.history if "score" in row] == [0, 3, 4]
    assert (walk.trained, result.best_epoch) == (4, 0)
    walk, result = run_with_start([3.0], epochs=0)
    assert (walk.trained, result.best_epoch, result.metric) == (0, 0, 3.0)


def test_without_validation_the_start_is_not_kept():
    walk, plain = Walk(), Walk()
    result = run(walk, keep_start=True)
    assert (walk.trained, result.best_epoch, result.metric) == (8, 8, None)
    run(plain)
    np.testing.assert_array_equal(walk.place, plain.place)


@pytest.mark.parametrize("kind", [Walk, Regression])
@pytest.mark.parametrize("sign", [1, -1], ids=["far", "start"])
@pytest.mark.parametrize("kill_at", range(10))
def test_a_run_with_start_resumes_to_the_same_end_after_a_kill_at_any_time(
    kind, sign, kill_at, tmp_path
):
    def run_once(killed_validation=None, folder=None, die_in=None):
        trainee, count = kind(die_in), 0

        def validate():  # best far from the start, or at it
            nonlocal count
            if count == killed_validation:
                raise KeyboardInterrupt
            count += 1
            return sign * float(np.linalg.norm(next(iter(trainee.state().values()))))

        return trainee, run(trainee, epochs=4, folder=folder, validate=validate, keep_start=True)

    expected, result = run_once()
    assert (result.best_epoch == 0) == (sign == -1)
    kill = {"die_in": kill_at} if kill_at in range(1, 5) else {"killed_validation": kill_at - 5}
    if kill_at:
        with pytest.raises(KeyboardInterrupt):
            run_once(folder=tmp_path, **kill)
    for _ in range(2):  # the second run reads the finished first one
        again, result_again = run_once(folder=tmp_path)
        for name, array in expected.state().items():
            np.testing.assert_array_equal(again.state()[name], array)
        for one, other in zip(result_again.history, result.history, strict=True):
            assert {**one, "seconds": 0} == {**other, "seconds": 0}
        assert (result_again.best_epoch, result_again.metric) == (result.best_epoch, result.metric)


def test_a_finished_run_is_read_back_without_training(tmp_path):
    first = Walk()
    run(first, folder=tmp_path)
    again = Walk()
    result = run(again, folder=tmp_path)
    assert (again.trained, result.best_epoch) == (0, 8)
    np.testing.assert_array_equal(again.place, first.place)


@pytest.mark.parametrize(
    "change",
    [
        *({"seed": 4}, {"settings": "other data"}, {"epochs": 9}, {"keep_start": True}),
        {"validate": lambda: 1.0},
    ],
)
def test_a_checkpoint_of_another_run_is_refused(change, tmp_path):
    run(Walk(), folder=tmp_path)
    with pytest.raises(ArtefactError, match="other data, settings or seed"):
        run(Walk(), folder=tmp_path, **change)


@pytest.mark.parametrize("part", ["checkpoint.json", "checkpoint-8.safetensors"])
def test_a_damaged_checkpoint_is_a_clear_error(part, tmp_path):
    run(Walk(), folder=tmp_path)
    path = tmp_path / part
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ArtefactError, match="damaged"):
        run(Walk(), folder=tmp_path)


def test_only_one_array_file_is_kept_and_nothing_unfinished(tmp_path):
    run(Walk(), folder=tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["checkpoint-8.safetensors", "checkpoint.json", "log.jsonl"]


def test_divergence_is_reported_with_its_epoch():
    class Diverging(Walk):
        def epoch(self, rng, epoch):
            yield 1.0 if epoch < 3 else float("nan")

    with pytest.raises(ConfigError, match="nan in epoch 3; lower learning_rate"):
        run(Diverging())


def test_the_seed_determines_training_and_the_global_state_does_not_change():
    before = torch.get_rng_state()
    one, same, other = Regression(), Regression(), Regression()
    run(one)
    run(same)
    run(other, seed=4)
    assert torch.equal(one.weight, same.weight)
    assert not torch.equal(one.weight, other.weight)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.allclose(one.weight, torch.ones(4), atol=0.5)


def test_a_strongly_rising_loss_logs_a_warning(caplog):
    class Rising(Walk):
        def epoch(self, rng, epoch):
            yield 1.0 if epoch < 3 else 10.0**epoch

    run_epochs(Rising(), Schedule(2), np.random.default_rng(0))
    assert not caplog.records
    run_epochs(Rising(), Schedule(3), np.random.default_rng(0))
    (record,) = (record for record in caplog.records if record.levelname == "WARNING")
    assert "the loss is 1000 in epoch 3, up from 1; lower learning_rate" in record.message

"""Tuning of the user distribution: every way to compute the softmax, alone and by two processes."""

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests.simulate.tuning_worlds import CASES, RESUMED, main, train, trainee_of

_SECONDS = 300


@pytest.fixture(scope="module")
def alone(encoder_folder, tmp_path_factory):
    """What one process computes in all cases."""
    target = tmp_path_factory.mktemp("alone") / "result.safetensors"
    main(str(encoder_folder), target)
    return load_file(target)


@pytest.fixture(scope="module")
def together(encoder_folder, tmp_path_factory):
    """What two processes of torchrun compute together."""
    target = tmp_path_factory.mktemp("together") / "result.safetensors"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    script = ["--nproc-per-node", "2", "-m", "tests.simulate.tuning_worlds"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *script, str(encoder_folder), str(target)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=_SECONDS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return load_file(target)


def of_case(arrays, case):
    return {
        name.removeprefix(f"{case}/"): array
        for name, array in arrays.items()
        if name.startswith(f"{case}/")
    }


@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_as_one_does(case, alone, together):
    expected, found = of_case(alone, case), of_case(together, case)
    assert expected.keys() == found.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5, rtol=1e-5, err_msg=name)
    np.testing.assert_array_equal(found["table"], found["whole table"])


@pytest.mark.parametrize("case", RESUMED)
def test_two_processes_resume_where_they_were_interrupted(case, alone, together):
    expected, found = of_case(alone, f"{case}, resumed"), of_case(together, f"{case}, resumed")
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, atol=1e-5, rtol=1e-5, err_msg=name)


def test_a_resumed_training_is_not_the_untrained_start(alone):
    first, last = of_case(alone, "row-wise"), of_case(alone, "row-wise, resumed")
    assert np.abs(first["table"] - last["table"]).max() < 0.5
    assert not np.array_equal(first["table"], last["table"])


@pytest.mark.parametrize("case", [case for case in CASES if "lora" in case])
def test_the_adapter_is_trained(case, alone):
    found = of_case(alone, case)
    adapters = [array for name, array in found.items() if "lora_B" in name]
    assert adapters
    assert all(np.abs(array).max() > 0 for array in adapters)


def test_a_product_gives_what_the_matrix_of_its_logits_gives(alone):
    matrix, product = of_case(alone, "matrix"), of_case(alone, "product")
    for name, array in matrix.items():
        np.testing.assert_allclose(product[name], array, atol=1e-4, rtol=1e-4, err_msg=name)


def test_a_sampled_loss_is_near_the_full_one(alone):
    full, sampled = of_case(alone, "frozen")["losses"], of_case(alone, "sampled")["losses"]
    np.testing.assert_allclose(sampled.mean(), full.mean(), rtol=0.1)


@pytest.mark.parametrize("case", ["product, row-wise", "sampled, product, row-wise"])
def test_no_step_makes_the_logits_of_all_users(case, lm, monkeypatch):
    trainee, shapes = trainee_of(case, lm), set()
    batch, n_users = 7, trainee.distribution.tokens.n_users
    monkeypatch.setattr("warmstart.train.blocked_softmax.BLOCK_LOGITS", batch * 5)

    class Shapes(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                shapes.add(tuple(result.shape))
            return result

    with Shapes():
        trainee.step(trainee._loss(np.arange(batch), torch.Generator()))
    assert (batch, 5) in shapes
    assert not shapes & {(batch, n_users), (n_users, batch), (batch * n_users,)}


def test_validation_scores_only_the_users_who_ask(lm, world, monkeypatch):
    data, task = world.split.train, world.split.slice("valid", "cold")
    frozen = np.random.default_rng(0).normal(size=(data.n_items, 32)).astype(np.float32)
    found = []
    for limit in (65_536, 3):
        monkeypatch.setattr("warmstart.simulate.distribution_tuning.DENSE_USERS", limit)
        validate = trainee_of("matrix", lm).validator(frozen, data, task)
        found.append(validate())
    assert found[0] == found[1] > 0


@pytest.mark.parametrize("case", ["frozen", "row-wise"])
def test_training_lowers_the_loss(case, lm):
    losses = train(trainee_of(case, lm), epochs=8)["losses"]
    assert losses[-3:].mean() < losses[:3].mean() - 0.4


@pytest.mark.parametrize(
    ("optimiser", "width", "row_wise"),
    [("auto", 64, False), ("row-wise", 64, True), ("adamw", 2**20, False), ("auto", 2**20, True)],
)
def test_a_table_above_a_gigabyte_is_updated_row_wise(optimiser, width, row_wise, lm):
    config = trainee_of("frozen", lm).config
    changed = config.model_copy(update={"table_optimiser": optimiser, "width": width})
    assert changed.updates_row_wise(1000) == row_wise

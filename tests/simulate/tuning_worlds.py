"""Tunings of a user distribution on the checkerboard, by name; run by one process or by several.

    python -m tests.simulate.tuning_worlds ENCODER RESULT.safetensors

runs all of them, under torchrun too, and writes losses and trained parameters. ENCODER is the
folder of a tiny language model.
"""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from warmstart.lm.load import LMConfig, load_language_model
from warmstart.lm.lora import TunableLM
from warmstart.simulate.distribution_tuning import DistributionTrainee, TokenTuningConfig
from warmstart.simulate.ridge import RidgeConfig, RidgeHead
from warmstart.simulate.user_distribution import UserDistribution
from warmstart.simulate.user_tokens import UserTokens
from warmstart.testing.worlds.checkerboard import checkerboard
from warmstart.train import Schedule, run_epochs
from warmstart.train.ranks import is_first_process, process_group

WIDTH, LM_WIDTH = 6, 32
TEXTS = ["the old dragon", "film"]
LORA = {"lm_tuning": "lora", "lora": {"rank": 2, "alpha": 8, "dropout": 0.0}}
CASES = {
    "frozen": {},
    "row-wise": {"table_optimiser": "row-wise"},
    "product": {"ridge": "product"},
    "product, row-wise": {"ridge": "product", "table_optimiser": "row-wise"},
    "matrix": {"ridge": "matrix"},
    "sampled": {"negatives": 12},
    "sampled, product, row-wise": {
        "negatives": 12,
        "ridge": "product",
        "table_optimiser": "row-wise",
    },
    "lora": LORA,
    "lora, row-wise": {**LORA, "table_optimiser": "row-wise"},
    "lora, divided": {**LORA, "shard_lm": True},
}


RESUMED = ("row-wise", "lora", "lora, divided")


class ProductRidge(RidgeHead):
    """A ridge head whose predictions are products with a user table; its rows are orthonormal."""

    user_table: np.ndarray | None = None

    def leave_one_out_features(self, vectors, rows):
        predicted = super()._left_out(self.targets[rows].toarray(), vectors, rows)
        return predicted @ self.user_table

    def leave_one_out(self, vectors, targets, rows):
        raise AssertionError("this would make an array of the size (batch, n_users)")


def _ridge(kind, vectors, data, rows):
    if kind is None:
        return None
    config, targets = RidgeConfig(kernel="linear", l2=1.0), data.matrix.T.tocsr()[rows]
    if kind == "matrix":
        return RidgeHead.fit(config, vectors, targets, np.random.default_rng(0))
    head = ProductRidge.fit(config, vectors, targets, np.random.default_rng(0))
    random = np.random.default_rng(1).normal(size=(data.n_users + 2, data.n_users))
    head.targets = targets
    head.user_table = np.ascontiguousarray(np.linalg.qr(random)[0].T, np.float32)
    return head


def trainee_of(case, lm):
    """Make the trainee of a case, of which ``epoch`` and ``state`` are used."""
    settings = dict(CASES[case])
    kind = settings.pop("ridge", None)
    rng, data = np.random.default_rng(0), checkerboard().data
    rows = np.flatnonzero(data.warm)
    vectors = rng.normal(size=(len(rows), LM_WIDTH)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    config = TokenTuningConfig(
        width=WIDTH,
        batch_size=7,
        learning_rate=1e-3,
        head_learning_rate=1e-3,
        token_learning_rate=1e-2,
        **settings,
    )
    table = rng.normal(size=(data.n_users, WIDTH)).astype(np.float32)
    degrees = data.matrix.getnnz(axis=1)
    tokens = UserTokens(table, LM_WIDTH, rng, temperature=2.0, degrees=degrees)
    guides = rng.normal(size=(len(rows), WIDTH)).astype(np.float32)
    ridge = _ridge(kind, vectors, data, rows)
    tunable = TunableLM(lm, config.lora, rng) if config.lm_tuning == "lora" else None
    distribution = UserDistribution(tokens, ridge, 3.0)
    return DistributionTrainee(distribution, data, rows, vectors, guides, tunable, config)


def train(trainee, epochs=2):
    """Train; returns the losses of all steps, and all parameters."""
    losses = []
    for epoch in range(1, epochs + 1):
        losses += list(trainee.epoch(np.random.default_rng([5, epoch]), epoch))
        trainee.end_epoch()
    return {"losses": np.array(losses), **trainee.state()}


def resumed(case, lm, folder):
    """Train an epoch, then a second one from the checkpoint of the first; returns the state."""
    rng_seed, trainee = 3, trainee_of(case, lm)
    with pytest.raises(KeyboardInterrupt):
        run_epochs(
            interrupted(trainee),
            Schedule(2),
            np.random.default_rng(rng_seed),
            folder=folder,
            checkpoint_seconds=0,
        )
    trainee = trainee_of(case, lm)
    run_epochs(trainee, Schedule(2), np.random.default_rng(rng_seed), folder=folder)
    return trainee.state()


def interrupted(trainee):
    """Let a trainee end in its second epoch."""
    whole_epoch = trainee.epoch

    def epoch(rng, number):
        if number == 2:
            raise KeyboardInterrupt
        return whole_epoch(rng, number)

    trainee.epoch = epoch
    return trainee


def main(encoder, target):
    lm = load_language_model(LMConfig(source=encoder, device="cpu"))
    before = {name: weight.clone() for name, weight in lm.body.named_parameters()}
    arrays = {}
    for case in CASES:
        trainee = trainee_of(case, lm)
        with trainee.without_whole_lm():
            divided = CASES[case].get("shard_lm", False) and trainee.ranks is not None
            assert all((weight.numel() == 0) == divided for weight in lm.body.parameters())
            if trainee.tunable is not None:  # as the validation of the start does
                arrays[f"{case}/encoded at the start"] = trainee.tunable.encode(TEXTS)
            arrays |= {f"{case}/{name}": array for name, array in train(trainee).items()}
        tuned = trainee.finish()
        arrays[f"{case}/whole table"] = trainee.distribution.tokens.table.detach().numpy().copy()
        if tuned is not None:
            arrays[f"{case}/encoded"] = tuned.encode(TEXTS)
        for name, weight in lm.body.named_parameters():
            assert torch.equal(weight, before[name]), f"{case} changed {name} of the frozen LM"
    for case in RESUMED:
        state = resumed(case, lm, target.parent / case)
        arrays |= {f"{case}, resumed/{name}": array for name, array in state.items()}
    if is_first_process():
        save_file(arrays, target)


if __name__ == "__main__":
    with process_group():
        main(sys.argv[1], Path(sys.argv[2]))

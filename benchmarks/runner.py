"""Fits one system on one data set, in the environment of the interpreter that runs this script.

    python runner.py SYSTEM DATA.npz RESULT.json '{"width": 64, ...}'

DATA holds ``train`` and ``test`` (int32 pairs of user and item) and ``masked`` (pairs that are not
ranked, bool, users x items). RESULT gets ``seconds`` of each epoch (their mean if the library does
not report them) and ``recall@20``: after each epoch for warmstart, else after the last.
"""

import json
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
from scipy import sparse


def recall_at_20(scores, test, masked):
    scores = np.where(masked, -np.inf, scores)
    top = np.argpartition(-scores, 20, axis=1)[:, :20]
    hit = np.zeros(masked.shape, bool)
    hit[test[:, 0], test[:, 1]] = True
    counts = hit.sum(1)
    return float((np.take_along_axis(hit, top, 1).sum(1) / counts)[counts > 0].mean())


def warmstart(data, quality, kind, epochs, **settings):
    from pydantic import TypeAdapter

    from warmstart.backbones import BackboneConfig, build

    config = {"kind": kind, "epochs": epochs, "validate_every": 1, "patience": epochs, **settings}
    adapter = TypeAdapter(BackboneConfig)
    tiny = sparse.csr_matrix(np.eye(8, dtype=np.float32))
    one_epoch = adapter.validate_python({**config, "epochs": 1})
    build(one_epoch).fit(tiny, rng=np.random.default_rng(0))  # not timed: numba compiles here

    seconds, recalls, (n_users, n_items) = [], [], data.shape

    def validate(score):
        nonlocal started
        seconds.append(time.perf_counter() - started)
        recalls.append(quality(score(np.arange(n_users), np.arange(n_items))))
        started = time.perf_counter()
        return float(len(seconds))  # rising, so that no epoch is the last by early stopping

    backbone, started = build(adapter.validate_python(config)), time.perf_counter()
    backbone.fit(data, validate=validate, rng=np.random.default_rng(0))
    return seconds, recalls


def implicit_bpr(data, quality, width, epochs, learning_rate, l2):
    from implicit.bpr import BayesianPersonalizedRanking  # pyright: ignore[reportMissingImports]

    model = BayesianPersonalizedRanking(
        factors=width - 1, iterations=epochs, learning_rate=learning_rate, regularization=l2
    )
    return _fit_implicit(model, data, quality, epochs)


def implicit_als(data, quality, width, epochs, alpha, l2):
    from implicit.als import AlternatingLeastSquares  # pyright: ignore[reportMissingImports]

    model = AlternatingLeastSquares(
        factors=width,
        iterations=epochs,
        regularization=l2,
        alpha=alpha,
        calculate_training_loss=False,
    )
    return _fit_implicit(model, data, quality, epochs)


def _fit_implicit(model, data, quality, epochs):
    started = time.perf_counter()
    model.fit(data, show_progress=False)
    seconds = (time.perf_counter() - started) / epochs
    return [seconds], [quality(model.user_factors @ model.item_factors.T)]


def cornac_bpr(data, quality, width, epochs, learning_rate, l2):
    from cornac.data import Dataset  # pyright: ignore[reportMissingImports]
    from cornac.models import BPR  # pyright: ignore[reportMissingImports]

    events = data.tocoo()
    triples = zip(events.row.tolist(), events.col.tolist(), events.data.tolist(), strict=True)
    train = Dataset.from_uir(triples)
    # cornac uses several threads only without a seed
    model = BPR(k=width, max_iter=epochs, learning_rate=learning_rate, lambda_reg=l2, seed=None)
    started = time.perf_counter()
    model.fit(train)
    seconds = (time.perf_counter() - started) / epochs
    users = np.zeros((data.shape[0], width + 1), np.float32)
    items = np.zeros((data.shape[1], width + 1), np.float32)
    user_rows, item_rows = list(train.uid_map), list(train.iid_map)
    users[user_rows] = np.column_stack([model.u_factors, np.ones(len(user_rows))])
    items[item_rows] = np.column_stack([model.i_factors, model.i_biases])
    return [seconds], [quality(users @ items.T)]


def recbole(data, quality, model, width, epochs, learning_rate, batch_size, **settings):
    import tempfile

    from recbole.config import Config  # pyright: ignore[reportMissingImports]
    from recbole.data import create_dataset, data_preparation  # pyright: ignore[reportMissingImports]
    from recbole.model import general_recommender  # pyright: ignore[reportMissingImports]
    from recbole.trainer import Trainer  # pyright: ignore[reportMissingImports]

    with tempfile.TemporaryDirectory() as folder:
        events, target = data.tocoo(), Path(folder) / "planted"
        target.mkdir()
        lines = [f"u{u}\ti{i}" for u, i in zip(events.row, events.col, strict=True)]
        header = "user_id:token\titem_id:token"
        (target / "planted.inter").write_text("\n".join([header, *lines]) + "\n")
        settings = {
            "data_path": folder,
            "checkpoint_dir": folder,
            "embedding_size": width,
            "learning_rate": learning_rate,
            "train_batch_size": batch_size,
            "epochs": epochs,
            "eval_args": {"split": {"RS": [1, 0, 0]}, "order": "RO", "mode": "full"},
            "use_gpu": False,
            "show_progress": False,
            "state": "ERROR",
            **settings,
        }
        config = Config(model=model, dataset="planted", config_dict=settings)
        dataset = create_dataset(config)
        train, _, _ = data_preparation(config, dataset)
        network = getattr(general_recommender, model)(config, train.dataset)
        trainer, seconds = Trainer(config, network), []
        for epoch in range(epochs):
            started = time.perf_counter()
            trainer._train_epoch(train, epoch, show_progress=False)
            seconds.append(time.perf_counter() - started)
        network.eval()
        if model == "BPR":
            parts = (network.user_embedding.weight, network.item_embedding.weight)
        else:
            parts = network.forward()
        vectors = [part.detach().numpy() for part in parts]
        tables = []
        for field, table, n in zip(("user_id", "item_id"), vectors, data.shape, strict=True):
            rows = [int(token[1:]) for token in dataset.field2id_token[field][1:]]
            ordered = np.zeros((n, width), np.float32)
            ordered[rows] = table[1:]
            tables.append(ordered)
    users, items = tables
    return seconds, [quality(users @ items.T)]


SYSTEMS = {
    "warmstart": warmstart,
    "implicit_bpr": implicit_bpr,
    "implicit_als": implicit_als,
    "cornac_bpr": cornac_bpr,
    "recbole": recbole,
}


def main():
    system, source, target, settings = sys.argv[1:]
    with np.load(source) as parts:
        train, test, masked = (parts[name] for name in ("train", "test", "masked"))
    ones = np.ones(len(train), np.float32)
    data = sparse.csr_matrix((ones, (train[:, 0], train[:, 1])), shape=masked.shape)
    quality = partial(recall_at_20, test=test, masked=masked)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, recalls = SYSTEMS[system](data, quality, **json.loads(settings))
    result = {"seconds": np.round(seconds, 4).tolist(), "recall@20": np.round(recalls, 4).tolist()}
    Path(target).write_text(json.dumps(result))


if __name__ == "__main__":
    main()

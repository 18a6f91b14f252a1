"""Fits one sequence model on one data set, in the environment of the interpreter that runs this.

    python sequence_runner.py SYSTEM DATA.npz RESULT.json '{"width": 64, ...}'

DATA holds ``train`` (int32 pairs of user and item, in the order of each user's events) and ``test``
(the event that follows, one a user). RESULT gets ``seconds`` of each epoch and ``hit@10``, ranked
among all items, after the last one.
"""

import json
import sys
import time
import warnings
from pathlib import Path

import numpy as np

K = 10


def warmstart(train, test, width, epochs, layers, heads, max_length, dropout, rate, batch, mean):
    from warmstart.backbones.sequence import build_sequence
    from warmstart.backbones.sequence.sasrec import SasRecConfig
    from warmstart.data.histories import Histories

    config = SasRecConfig(
        width=width, epochs=epochs, validate_every=1, patience=epochs, layers=layers, heads=heads,
        dropout=dropout,
        max_length=max_length, temperature=None, learning_rate=rate, batch_size=round(batch * mean),
    )  # fmt: skip
    offsets = np.concatenate([[0], np.cumsum(np.bincount(train[:, 0]))])
    histories = Histories(offsets, train[:, 1])
    seconds, started = [], 0.0

    def validate():
        nonlocal started
        seconds.append(time.perf_counter() - started)
        started = time.perf_counter()
        return float(len(seconds))

    model, started = build_sequence(config), time.perf_counter()
    n_items = int(max(train[:, 1].max(), test.max())) + 1
    model.fit(histories, n_items, validate=validate, rng=np.random.default_rng(0))
    scores = np.nan_to_num(model.encode(histories) @ model.item_vectors.T, nan=-np.inf)
    top = np.argpartition(-scores, K, axis=1)[:, :K]
    return seconds, (top == test[:, None]).any(axis=1).mean()


def rectools(train, test, width, epochs, layers, heads, max_length, dropout, rate, batch, mean):
    import pandas as pd  # pyright: ignore[reportMissingImports]
    import pytorch_lightning as lightning  # pyright: ignore[reportMissingImports]
    from rectools import Columns  # pyright: ignore[reportMissingImports]
    from rectools.dataset import Dataset  # pyright: ignore[reportMissingImports]
    from rectools.models import SASRecModel  # pyright: ignore[reportMissingImports]

    class Clock(lightning.Callback):
        def __init__(self):
            self.seconds, self.started = [], 0.0

        def on_train_epoch_start(self, *_):
            self.started = time.perf_counter()

        def on_train_epoch_end(self, *_):
            self.seconds.append(time.perf_counter() - self.started)

    def trainer():
        return lightning.Trainer(
            max_epochs=epochs, callbacks=[Clock()], accelerator="cpu", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        )  # fmt: skip

    times = pd.to_datetime(np.arange(len(train)), unit="s")
    frame = pd.DataFrame(
        {Columns.User: train[:, 0], Columns.Item: train[:, 1], Columns.Weight: 1.0,
         Columns.Datetime: times}
    )  # fmt: skip
    data = Dataset.construct(frame)
    model = SASRecModel(
        n_blocks=layers, n_heads=heads, n_factors=width, dropout_rate=dropout, lr=rate,
        session_max_len=max_length, loss="softmax", batch_size=batch, get_trainer_func=trainer,
        recommend_torch_device="cpu",
    )  # fmt: skip
    model.fit(data)
    users = np.unique(train[:, 0])
    lists = model.recommend(users, data, k=K, filter_viewed=False)
    hits = test[lists[Columns.User].to_numpy()] == lists[Columns.Item].to_numpy()
    (clock,) = (part for part in model.fit_trainer.callbacks if isinstance(part, Clock))
    return clock.seconds, hits.sum() / len(test)


SYSTEMS = {"warmstart": warmstart, "rectools": rectools}


def main():
    system, source, target, settings = sys.argv[1:]
    with np.load(source) as parts:
        train, test = parts["train"], parts["test"]
    mean = len(train) / len(np.unique(train[:, 0]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seconds, hit = SYSTEMS[system](train, test, mean=mean, **json.loads(settings))
    result = {"seconds": np.round(seconds, 4).tolist(), "hit@10": round(float(hit), 4)}
    Path(target).write_text(json.dumps(result))


if __name__ == "__main__":
    main()

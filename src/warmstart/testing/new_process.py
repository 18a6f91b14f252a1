"""Load saved recommenders in a process of their own and write down what they answer.

``python -m warmstart.testing.new_process REQUEST.json OUT`` with a request of the form
``{"methods": {name: "module:Class"}, "models": {case: folder}, "k": 5}``.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from warmstart.core import Recommender
from warmstart.methods import METHODS, load_model


@dataclass(frozen=True)
class Answers:
    """What a recommender answers.

    Attributes:
        lists: ``recommend`` for all users.
        scores: of all pairs, float32, shape (n_users, n_items).
    """

    lists: pl.DataFrame
    scores: np.ndarray

    def write(self, folder: Path, name: str) -> None:
        """Write two files."""
        self.lists.write_parquet(folder / f"{name}.parquet")
        np.save(folder / f"{name}.npy", self.scores)

    @classmethod
    def read(cls, folder: Path, name: str) -> "Answers":
        """What ``write`` wrote."""
        return cls(pl.read_parquet(folder / f"{name}.parquet"), np.load(folder / f"{name}.npy"))


def answers(model: Recommender, k: int) -> Answers:
    """Lists of length k for all users, and all scores."""
    fitted = model.fitted
    users = np.arange(len(fitted.user_ids), dtype=np.int32)
    items = np.arange(len(fitted.catalogue), dtype=np.int32)
    return Answers(model.recommend(fitted.user_ids.values, k), model.score(users, items))


def main(request: Path, out: Path) -> None:
    """Answer for every model of the request; write the names of the imported modules last."""
    asked = json.loads(request.read_text(encoding="utf-8"))
    METHODS.update(asked["methods"])
    for case, folder in asked["models"].items():
        answers(load_model(folder), asked["k"]).write(out, case)
    (out / "modules.json").write_text(json.dumps(sorted(sys.modules)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

"""Loads saved recommenders in a new process, and writes their recommendation lists and scores.

``python -m warmstart.testing.new_process REQUEST.json OUT`` with a request of the form
``{"methods": {name: "module:Class"}, "models": {case: folder}, "k": 5, "lms": {}}``. For models
that read queries with language models, ``lms`` has the folder of each by its role.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from warmstart.core import Recommender
from warmstart.data.ids import ExternalId
from warmstart.data.queries import Queries
from warmstart.lm import CausalLMConfig, LMConfig, load_causal_lm, load_encoder
from warmstart.methods import METHODS, load_model


@dataclass(frozen=True)
class Lists:
    """Recommendation lists of all users, with all scores.

    Attributes:
        frame: what ``recommend`` returns for all users.
        scores: of all pairs, float32, shape (n_users, n_items).
    """

    frame: pl.DataFrame
    scores: np.ndarray

    def write(self, folder: Path, name: str) -> None:
        """Write ``name.parquet`` and ``name.npy``."""
        self.frame.write_parquet(folder / f"{name}.parquet")
        np.save(folder / f"{name}.npy", self.scores)

    @classmethod
    def read(cls, folder: Path, name: str) -> "Lists":
        """Read the two files that ``write`` wrote."""
        return cls(pl.read_parquet(folder / f"{name}.parquet"), np.load(folder / f"{name}.npy"))


def queries_of(model: Recommender, users: np.ndarray) -> Queries:
    """Ask for known users, as the model can answer: by row, or else by texts about their items.

    Args:
        model: a fitted recommender.
        users: int32 row numbers, shape (users,).
    """
    if "user" in model.answers:
        return Queries.of_users(users)
    return Queries(np.asarray(users, np.int32), None, _texts(model, users))


def recommend_to(
    model: Recommender, users: Sequence[ExternalId], k: int, **options: Any
) -> pl.DataFrame:
    """Recommend to known users, as the model can answer; see ``Recommender.recommend``."""
    if "user" in model.answers:
        return model.recommend(users, k, **options)
    texts = _texts(model, model.fitted.user_ids.known_rows(users))
    return model.recommend(users, k, texts=texts, **options)


def _texts(model: Recommender, users: np.ndarray) -> tuple[str, ...]:
    fitted = model.fitted
    titles = [" and ".join(fitted.catalogue.texts[i] for i in fitted.histories[u]) for u in users]
    return tuple(f"User: i liked {title}" for title in titles)


def lists(model: Recommender, k: int) -> Lists:
    """Compute lists of length k for all users, and all scores."""
    fitted = model.fitted
    users = np.arange(len(fitted.user_ids), dtype=np.int32)
    items = np.arange(len(fitted.catalogue), dtype=np.int32)
    return Lists(
        recommend_to(model, fitted.user_ids.values, k, on_unknown="popular"),
        model.score(queries_of(model, users), items),
    )


def main(request: Path, out: Path) -> None:
    """Write the lists of every model in the request, then the names of all imported modules."""
    content = json.loads(request.read_text(encoding="utf-8"))
    METHODS.update(content["methods"])
    models = {}
    for role, folder in content["lms"].items():
        models |= _language_model(role, Path(folder))
    for case, folder in content["models"].items():
        lists(load_model(folder, **models), content["k"]).write(out, case)
    (out / "modules.json").write_text(json.dumps(sorted(sys.modules)))


def _language_model(role: str, folder: Path) -> dict[str, Any]:
    """Load the model in ``folder``, as the argument of ``load_model``."""
    source = str(folder / "tiny-lm")
    if role == "encoder":
        config = LMConfig(source=source, device="cpu")
        return {"encoder": load_encoder(config, folder=folder / "cache")}
    config = CausalLMConfig(source=source, device="cpu", dtype="float32")
    return {"lm": load_causal_lm(config)}


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))

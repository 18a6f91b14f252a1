"""What the contract checks run on: a world, a language model, and fits that are made once."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from warmstart.core import Recommender
from warmstart.data.dataset import Dataset
from warmstart.data.splits.cold import SliceName, Validation
from warmstart.lm import TextEncoder
from warmstart.methods import load_model
from warmstart.rank import ScoreFunction, mean_metric
from warmstart.run import Run
from warmstart.testing.new_process import Answers, answers
from warmstart.testing.world import World, chance, checkerboard, world_encoder
from warmstart.train import loop

K = 5
_SEED = 7
_METRIC = "ndcg@10"


class Fixtures:
    """One world and one language model for many cases.

    Args:
        folder: an empty folder for models and checkpoints.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = checkerboard("str")
        self.other_world = checkerboard("int", n_users=24, n_warm=24, n_cold=8, seed=1)
        self.cases: dict[str, Case] = {}

    def case(
        self, cls: type[Recommender], settings: Mapping[str, Any] | None = None, name: str = ""
    ) -> "Case":
        """A method with settings, to be checked; ``name`` tells apart several cases of one method.

        All cases that are answered for in a process of their own must be made before that.
        """
        name = name or cls.name
        if name not in self.cases:
            self.cases[name] = Case(self, name, cls, dict(settings or {}))
        return self.cases[name]

    @cached_property
    def lm(self) -> TextEncoder:
        """A tiny language model that tells even texts from odd ones."""
        return world_encoder(self.folder)

    @cached_property
    def other_lm(self) -> TextEncoder:
        """A language model with other weights."""
        return world_encoder(self.folder / "other", seed=1)

    @cached_property
    def fresh(self) -> tuple[dict[str, Answers], list[str]]:
        """Answers by case from one new process, and the modules that it imported."""
        out = self.folder / "fresh"
        out.mkdir()
        names = {name: name.replace("/", "-") for name in self.cases}
        request = {
            "methods": {case.cls.name: _address(case.cls) for case in self.cases.values()},
            "models": {names[name]: str(case.saved) for name, case in self.cases.items()},
            "k": K,
        }
        (self.folder / "request.json").write_text(json.dumps(request))
        command = [sys.executable, "-m", "warmstart.testing.new_process"]
        done = subprocess.run(
            [*command, str(self.folder / "request.json"), str(out)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"a fresh process fails:\n{done.stderr}"
        return (
            {name: Answers.read(out, file) for name, file in names.items()},
            json.loads((out / "modules.json").read_text()),
        )


@dataclass(frozen=True)
class Fit:
    """The shared fit of a case, and what was around it.

    Attributes:
        model: the fitted recommender; checks leave it as it is.
        returned: what ``fit`` returned.
        before, after: fingerprints of data, language model and global states.
    """

    model: Recommender
    returned: Any
    before: dict[str, str]
    after: dict[str, str]


class Case:
    """A method with settings in the world of a lab; what is dear is made once, when first needed.

    Attributes:
        lab: the lab.
        name: of the case.
        cls: the method.
        settings: for ``config_type.build``.
    """

    def __init__(
        self, lab: Fixtures, name: str, cls: type[Recommender], settings: dict[str, Any]
    ) -> None:
        self.lab, self.name, self.cls, self.settings = lab, name, cls, settings

    @property
    def world(self) -> World:
        """The world that the shared model knows."""
        return self.lab.world

    @property
    def lm(self) -> TextEncoder | None:
        """The language model, where the method needs one."""
        return self.lab.lm if self.cls.traits.needs_lm else None

    @property
    def understands_cold(self) -> bool:
        """Whether the method claims to know who likes a cold item."""
        return self.cls.traits.cold_items in ("content", "simulated")

    def new(self) -> Recommender:
        """An unfitted recommender with the settings of the case."""
        return self.cls(self.cls.config_type.build(self.settings))

    def fit(
        self,
        data: Dataset | None = None,
        valid: Validation | None = None,
        *,
        model: Recommender | None = None,
        rng: np.random.Generator | int = _SEED,
        run: Run | None = None,
    ) -> Recommender:
        """A fit of its own: by default as the shared one."""
        if data is None:
            data, valid = self.world.data, self.world.split.validation()
        model = model or self.new()
        model.fit(data, valid=valid, lm=self.lm, rng=rng, run=run)
        return model

    @cached_property
    def shared(self) -> Fit:
        """The fit that most checks look at."""
        model, valid = self.new(), self.world.split.validation()
        before = self._surroundings(valid)
        returned = model.fit(self.world.data, valid=valid, lm=self.lm, rng=_SEED)
        return Fit(model, returned, before, self._surroundings(valid))

    @property
    def model(self) -> Recommender:
        """The shared model."""
        return self.shared.model

    @cached_property
    def scores(self) -> np.ndarray:
        """All scores of the shared model."""
        return all_scores(self.model)

    @cached_property
    def saved(self) -> Path:
        """Artefact of the shared model."""
        return self.model.save(self.folder("saved"))

    @cached_property
    def saved_other(self) -> Path:
        """Artefact of a model of the other world, fitted without validation."""
        return self.fit(self.lab.other_world.data).save(self.folder("saved-other"))

    def loaded(self, *, other: bool = False) -> Recommender:
        """A copy to change, from the artefact."""
        return load_model(self.saved_other if other else self.saved, lm=self.lm)

    def copied(self, name: str) -> Path:
        """A copy of the artefact to spoil."""
        return Path(shutil.copytree(self.saved, self.folder("spoiled") / name / "model"))

    def folder(self, name: str) -> Path:
        """A place for files of this case."""
        return self.lab.folder / self.name.replace("/", "-") / name

    @property
    def fresh(self) -> Answers:
        """Answers of the saved model from another process."""
        return self.lab.fresh[0][self.name]

    @cached_property
    def answers(self) -> Answers:
        """The same from this process."""
        return answers(self.model, K)

    def share(self, score: ScoreFunction, part: SliceName) -> float:
        """How good a ranking of a test slice is: 0 at random, 1 the right answer."""
        task = self.world.split.slice("test", part)
        low, high = chance(task, _METRIC), mean_metric(self.world.right, task, _METRIC)
        return (mean_metric(score, task, _METRIC) - low) / (high - low)

    def _surroundings(self, valid: Validation) -> dict[str, str]:
        """Fingerprints of everything that a fit must leave alone."""
        data = self.world.data
        events, matrix = data.interactions, data.matrix
        numpy_state: Any = np.random.get_state()  # noqa: NPY002 - only looked at
        tasks = [
            array
            for task in valid.values()
            for array in (task.users, task.candidates, task.relevance.indices, task.masked.indices)
        ]
        found = {
            "interactions": _hash(events.users, events.items, events.weights),
            "matrix": _hash(matrix.indptr, matrix.indices, matrix.data, data.warm),
            "ids and texts": repr((data.user_ids.values, data.catalogue.item_ids.values))
            + repr(data.catalogue.texts),
            "validation slices": _hash(*tasks),
            "Python's random state": repr(random.getstate()),
            "numpy's random state": f"{numpy_state[2:]} {_hash(np.asarray(numpy_state[1]))}",
            "torch's random state": _hash(torch.get_rng_state().numpy()),
            "torch's gradient mode": repr(torch.is_grad_enabled()),
            "torch's threads": repr(torch.get_num_threads()),
            "working folder": os.getcwd(),
        }
        if self.lm is not None:
            network = self.lm.lm.full
            weights = [tensor.cpu().numpy() for tensor in network.state_dict().values()]
            asking = [name for name, weight in network.named_parameters() if weight.requires_grad]
            found["weights of the language model"] = _hash(*weights)
            found["mode of the language model"] = repr((asking, network.training))
        return found


def all_scores(model: Recommender) -> np.ndarray:
    """Scores of all items for all users."""
    fitted = model.fitted
    return model.score(rows(len(fitted.user_ids)), rows(len(fitted.catalogue)))


def rows(n: int) -> np.ndarray:
    """Row numbers 0..n-1, int32."""
    return np.arange(n, dtype=np.int32)


class Killed(BaseException):
    """Stands for a process that ends in the middle of a fit."""


@contextmanager
def killed_after_an_epoch() -> Iterator[None]:
    """Every training in a folder ends in ``Killed`` once: when its first epoch is on the disk."""
    write, begun = loop.write_checkpoint, set()

    def write_and_die(folder: Path, settings: str, at: Any) -> None:
        write(folder, settings, at)
        if folder not in begun:
            begun.add(folder)
            raise Killed

    at_once = {"checkpoint_seconds": 0.0}
    with (
        patch.dict(loop.run_epochs.__kwdefaults__, at_once),
        patch.object(loop, "write_checkpoint", write_and_die),
    ):
        yield


def _address(cls: type[Recommender]) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _hash(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.shape} {array.dtype}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()

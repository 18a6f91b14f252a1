"""What the contract checks run on: toy data, a language model, and fits that checks share."""

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import torch

from warmstart.core import LanguageModels, Recommender
from warmstart.data.dataset import Dataset
from warmstart.data.queries import Queries
from warmstart.data.splits.base import Split
from warmstart.data.splits.cold import SliceName
from warmstart.data.tasks import Validation
from warmstart.lm import CausalLM, CausalLMConfig, TextEncoder, load_causal_lm
from warmstart.methods import load_model
from warmstart.rank import ScoreFunction, by_user, mean_metric
from warmstart.run import Run
from warmstart.testing.new_process import Lists, lists, queries_of, recommend_to
from warmstart.testing.tiny_lm import tiny_causal
from warmstart.testing.worlds.checkerboard import (
    Checkerboard,
    checkerboard,
    expected_random_ndcg,
    world_encoder,
)
from warmstart.testing.worlds.cycle import CycleWorld, cycle_world
from warmstart.testing.worlds.dialogues import DialogueWorld, dialogue_world
from warmstart.testing.worlds.items import EVEN, ODD, WORDS
from warmstart.testing.worlds.ratings import RatingsWorld, ratings_world
from warmstart.train import loop

K = 5
_QUESTION_WORDS = (
    *("new", "item", "this", "person", "chose", "will", "they", "choose", "the", "too"),
    *("answer", "yes", "or", "no"),
)
_SEED = 7
_LM_FOLDERS = {"encoder": "similar", "causal": "similar-causal"}  # of those that read queries
_METRIC = "ndcg@10"


class Fixtures:
    """Toy data and language models that many cases share.

    Args:
        folder: an empty folder for models and checkpoints.

    Attributes:
        world: data of the shared fits, with string ids.
        other_world: smaller data with integer ids.
        cases: all cases by name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.world = checkerboard("str")
        self.other_world = checkerboard("int", n_users=24, n_warm=24, n_cold=8, seed=1)
        self.cases: dict[str, Case] = {}

    def case(
        self, cls: type[Recommender], settings: Mapping[str, Any] | None = None, name: str = ""
    ) -> "Case":
        """Return the case of this name; create it on the first call.

        Create all cases before ``new_process`` is used: it loads the models of the cases that exist
        at that time.

        Args:
            cls: the method.
            settings: nested values of its configuration; the defaults if None.
            name: distinguishes several cases of one method; the method's name if empty.
        """
        name = name or cls.name
        if name not in self.cases:
            self.cases[name] = Case(self, name, cls, dict(settings or {}))
        return self.cases[name]

    @cached_property
    def cycle(self) -> CycleWorld:
        """Histories whose next item is known."""
        return cycle_world()

    @cached_property
    def ratings(self) -> RatingsWorld:
        """Ratings whose probabilities are known."""
        return ratings_world()

    @cached_property
    def random_ratings(self) -> RatingsWorld:
        """Ratings from which nothing can be learned."""
        return ratings_world(noise=0.5)

    @cached_property
    def dialogues(self) -> DialogueWorld:
        """Dialogues whose ideal answers are known."""
        return dialogue_world()

    @cached_property
    def encoder(self) -> TextEncoder:
        """A tiny encoder whose vectors separate even from odd texts."""
        return world_encoder(self.folder)

    @cached_property
    def similarity_encoder(self) -> TextEncoder:
        """One whose vectors of texts of one parity are similar, for methods that only compare."""
        return world_encoder(self.folder / _LM_FOLDERS["encoder"], knows_words=True)

    @cached_property
    def other_encoder(self) -> TextEncoder:
        """An encoder with other weights."""
        return world_encoder(self.folder / "other", seed=1)

    @cached_property
    def causal(self) -> CausalLM:
        """A tiny causal LM over the words of the texts and of the judge's question."""
        return self._causal(self.folder / "causal")

    @cached_property
    def similarity_causal(self) -> CausalLM:
        """One for which words of one parity follow each other, for methods that only read it."""
        return self._causal(self.folder / _LM_FOLDERS["causal"], similar=(EVEN, ODD))

    def _causal(self, folder: Path, **options: Any) -> CausalLM:
        source = tiny_causal(folder / "tiny-lm", (*WORDS, *_QUESTION_WORDS), **options)
        return load_causal_lm(CausalLMConfig(source=str(source), device="cpu", dtype="float32"))

    @cached_property
    def new_process(self) -> tuple[dict[str, Lists], list[str]]:
        """Lists by case, made by one new process, and the modules that it imported.

        Not of the cases that read queries with a language model.
        """
        return self._in_new_process(with_lms=False)

    @cached_property
    def new_process_with_lms(self) -> dict[str, Lists]:
        """Lists by case, made by one new process, of the cases that read queries with an LM."""
        return self._in_new_process(with_lms=True)[0]

    def _in_new_process(self, *, with_lms: bool) -> tuple[dict[str, Lists], list[str]]:
        out = self.folder / f"new-process-{with_lms}"
        out.mkdir()
        cases = {n: c for n, c in self.cases.items() if c.reads_queries_with_lm == with_lms}
        names = {name: name.replace("/", "-") for name in cases}
        roles = {role for case in cases.values() for role in case.new().needs if with_lms}
        request = {
            "methods": {case.cls.name: _address(case.cls) for case in cases.values()},
            "models": {names[name]: str(case.saved) for name, case in cases.items()},
            "k": K,
            "lms": {role: str(self.folder / _LM_FOLDERS[role]) for role in sorted(roles)},
        }
        file = out.with_suffix(".json")
        file.write_text(json.dumps(request))
        command = [sys.executable, "-m", "warmstart.testing.new_process"]
        done = subprocess.run(
            [*command, str(file), str(out)],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"loading in a new process fails:\n{done.stderr}"
        return (
            {name: Lists.read(out, file) for name, file in names.items()},
            json.loads((out / "modules.json").read_text()),
        )


@dataclass(frozen=True)
class Fit:
    """The shared fit of a case.

    Attributes:
        model: the fitted recommender; checks must not change it.
        returned: what ``fit`` returned.
        before, after: fingerprints of data, language model and global state, by name, taken before
            and after the fit.
    """

    model: Recommender
    returned: Any
    before: dict[str, str]
    after: dict[str, str]


class Case:
    """A method with settings. Fits and artefacts that checks share are made on first use.

    Attributes:
        fixtures: data and language models.
        name: of the case.
        cls: the method.
        settings: nested values for ``config_type.build``.
    """

    def __init__(
        self, fixtures: Fixtures, name: str, cls: type[Recommender], settings: dict[str, Any]
    ) -> None:
        self.fixtures, self.name, self.cls, self.settings = fixtures, name, cls, settings

    @property
    def world(self) -> Checkerboard:
        """The toy data of the shared fit."""
        return self.fixtures.world

    @property
    def models(self) -> LanguageModels:
        """The language models that the method needs."""
        needs, fixtures = self.new().needs, self.fixtures
        encoder, causal = "encoder", "causal"
        traits = self.cls.traits  # pretrained LMs know similar words, and so do these
        if "text" in traits.answers or traits.scores_by_lm:
            encoder, causal = "similarity_encoder", "similarity_causal"
        return LanguageModels(
            getattr(fixtures, encoder) if "encoder" in needs else None,
            getattr(fixtures, causal) if "causal" in needs else None,
        )

    @property
    def ranks_cold_items(self) -> bool:
        """Whether the method declares that its scores of cold items differ by item and user."""
        traits = self.cls.traits
        return traits.personal and traits.cold_items in ("content", "simulated")

    @property
    def knows_taste(self) -> bool:
        """Whether the method knows what users like: it learned it, or the query tells it."""
        traits = self.cls.traits
        asked_by_text = not traits.answers & {"user", "history"} and bool(traits.reads)
        learned = bool(traits.reads & {"interactions", "ratings"})
        return traits.personal and (learned or asked_by_text)

    @property
    def reads_queries_with_lm(self) -> bool:
        """Whether every score runs a language model with these settings."""
        return bool(self.new().needs) and self.cls.traits.scores_by_lm

    def new(self) -> Recommender:
        """Make an unfitted recommender with the settings of the case."""
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
        """Fit a recommender; by default a new one, on the data and seed of the shared fit.

        Args:
            data: training data; that of ``world`` if None, with its validation slices.
            valid: validation slices, used with ``data`` only.
            model: recommender to fit; a new one if None.
            rng: generator or seed.
            run: folder for checkpoints.
        """
        if data is None:
            data, valid = self.world.data, self.world.split.validation()
        model = model or self.new()
        model.fit(
            data, valid=valid, encoder=self.models.encoder, lm=self.models.causal, rng=rng, run=run
        )
        return model

    @cached_property
    def shared(self) -> Fit:
        """The fit that most checks use."""
        model, valid = self.new(), self.world.split.validation()
        before = self._fingerprints(valid)
        returned = model.fit(
            self.world.data,
            valid=valid,
            encoder=self.models.encoder,
            lm=self.models.causal,
            rng=_SEED,
        )
        return Fit(model, returned, before, self._fingerprints(valid))

    @property
    def model(self) -> Recommender:
        """The model of the shared fit."""
        return self.shared.model

    @cached_property
    def scores(self) -> np.ndarray:
        """All scores of the shared model, float32, shape (n_users, n_items)."""
        return all_scores(self.model)

    @cached_property
    def saved(self) -> Path:
        """Folder of the shared model's artefact."""
        return self.model.save(self.folder("saved"))

    @cached_property
    def saved_other(self) -> Path:
        """Folder of the artefact of a model fitted on ``other_world`` without validation."""
        return self.fit(self.fixtures.other_world.data).save(self.folder("saved-other"))

    @cached_property
    def on_cycle(self) -> Recommender:
        """A model fitted on the cycle."""
        return self._fit_on(self.fixtures.cycle.split)

    @cached_property
    def on_ratings(self) -> Recommender:
        """A model fitted on the ratings."""
        return self._fit_on(self.fixtures.ratings.split)

    @cached_property
    def on_dialogues(self) -> Recommender:
        """A model fitted on the dialogues."""
        return self._fit_on(self.fixtures.dialogues.split)

    def _fit_on(self, split: Split) -> Recommender:
        return self.fit(split.train, split.validation())

    def loaded(self, *, other: bool = False) -> Recommender:
        """Load a model from an artefact; unlike the shared model, it may be changed."""
        return self.load(self.saved_other if other else self.saved)

    def load(self, folder: Path) -> Recommender:
        """Load an artefact with the language models of the case."""
        return load_model(folder, encoder=self.models.encoder, lm=self.models.causal)

    def load_alone(self, folder: Path) -> Recommender:
        """Load an artefact without language models, if the model can answer without them."""
        return self.load(folder) if self.reads_queries_with_lm else load_model(folder)

    def copied(self, name: str) -> Path:
        """Copy the artefact to a folder whose files may be changed."""
        return Path(shutil.copytree(self.saved, self.folder("copies") / name / "model"))

    def folder(self, name: str) -> Path:
        """Path below the folder of this case; it is not created."""
        return self.fixtures.folder / self.name.replace("/", "-") / name

    @property
    def lists_of_new_process(self) -> Lists:
        """Lists of length ``K`` of the saved model, made in a new process."""
        if self.reads_queries_with_lm:
            return self.fixtures.new_process_with_lms[self.name]
        return self.fixtures.new_process[0][self.name]

    @cached_property
    def lists(self) -> Lists:
        """Lists of length ``K`` of the shared model, made in this process."""
        return lists(self.model, K)

    def queries(self, users: int | np.ndarray) -> Queries:
        """Queries for known users, the first ``users`` or these rows, as the method can answer."""
        return queries_of(self.model, rows(users) if isinstance(users, int) else users)

    def recommend(self, users: Any, k: int, **options: Any) -> pl.DataFrame:
        """Lists of the shared model for known users, as the method can answer."""
        return recommend_to(self.model, users, k, **options)

    def relative_ndcg(self, score: ScoreFunction, part: SliceName) -> float:
        """ndcg@10 on a test slice, rescaled: 0 for a random ranking, 1 for the ideal one."""
        task = self.world.split.slice("test", part)
        low = expected_random_ndcg(task, _METRIC)
        high = mean_metric(by_user(self.world.ideal_scores), task, _METRIC)
        return (mean_metric(score, task, _METRIC) - low) / (high - low)

    def _fingerprints(self, valid: Validation) -> dict[str, str]:
        """Fingerprints of everything that a fit must not change, by name."""
        data = self.world.data
        events, matrix = data.interactions, data.matrix
        ratings, dialogues = data.ratings, data.dialogues
        assert ratings is not None
        assert dialogues is not None
        numpy_state: Any = np.random.get_state()  # noqa: NPY002 - only read
        found = {
            "interactions": _hash(events.users, events.items, events.weights),
            "matrix": _hash(matrix.indptr, matrix.indices, matrix.data, data.warm),
            "ratings": _hash(ratings.users, ratings.items, ratings.values),
            "dialogues": repr(dialogues.texts) + _hash(dialogues.items.items, dialogues.speakers),
            "ids and texts": repr((data.user_ids.values, data.catalogue.item_ids.values))
            + repr(data.catalogue.texts),
            "validation slices": repr([replace(task).hash for task in valid.values()]),
            "Python's random state": repr(random.getstate()),
            "numpy's random state": f"{numpy_state[2:]} {_hash(np.asarray(numpy_state[1]))}",
            "torch's random state": _hash(torch.get_rng_state().numpy()),
            "torch's gradient mode": repr(torch.is_grad_enabled()),
            "torch's threads": repr(torch.get_num_threads()),
            "working folder": os.getcwd(),
        }
        for role, model in (("encoder", self.models.encoder), ("causal LM", self.models.causal)):
            if model is None:
                continue
            network = model.lm.with_head
            weights = [tensor.cpu().numpy() for tensor in network.state_dict().values()]
            trainable = [n for n, weight in network.named_parameters() if weight.requires_grad]
            found[f"weights of the {role}"] = _hash(*weights)
            found[f"mode of the {role}"] = repr((trainable, network.training))
        return found


def all_scores(model: Recommender, n_items: int | None = None) -> np.ndarray:
    """Scores of all items, or the first ones, for all users: float32, shape (n_users, n_items)."""
    fitted = model.fitted
    users = queries_of(model, rows(len(fitted.user_ids)))
    return model.score(users, rows(len(fitted.catalogue) if n_items is None else n_items))


def scorer(model: Recommender) -> ScoreFunction:
    """Score items for queries by known users, in the way that the model can answer."""
    return lambda queries, items: model.score(queries_of(model, queries.users), items)


def rows(n: int) -> np.ndarray:
    """Row numbers 0..n-1, int32."""
    return np.arange(n, dtype=np.int32)


class Killed(BaseException):
    """Simulates that the process is killed during a fit."""


@contextmanager
def killed_after_an_epoch() -> Iterator[None]:
    """Raise ``Killed`` once in each training, after the checkpoint of epoch 1."""
    write, killed = loop.write_checkpoint, set()

    def write_then_raise(folder: Path, settings: str, at: Any) -> None:
        write(folder, settings, at)
        if folder not in killed and at.history[-1]["epoch"]:
            killed.add(folder)
            raise Killed

    every_epoch = {"checkpoint_seconds": 0.0}
    with (
        patch.dict(loop.run_epochs.__kwdefaults__, every_epoch),
        patch.object(loop, "write_checkpoint", write_then_raise),
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

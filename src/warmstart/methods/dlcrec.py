"""dlcrec: a causal LM plans which genres a list has, where, and then writes its titles.

Chen et al., "DLCRec: A Novel Approach for Managing Diversity in LLM-Based Recommender Systems"
(WSDM 2025, arXiv 2408.12470). Three adapters of one LM work in a row:

    history, number of genres ──genres──▶ Comedy, Drama
    history, genres ──places──▶ Comedy, Comedy, Drama, ...
    history, genre of each place ──items──▶ titles

Differences from the paper and its code, with their reasons:
- What is written can only be genres and titles of the catalogue, each title once and none that the
  person has seen, and the list always has exactly the genres asked for, as far as items can. The
  public code grounds free text by the nearest title, so an item may stand in a list several times;
  ``decoding = "free"`` does so, but with each item once.
- An item is told with one of all its genres, drawn anew for each window, not with the first in the
  alphabet; ``first_genre_only = True`` is as published.
- An answer has what was asked for only, not the whole history again, and only it is learned.
- Both augmentations keep the length of every list (``genre_planning.augmentation``).
- Without a wish for genres, items are ranked by the likelihood of their titles after the history.
- A collaborative model may choose which titles can be written (``shortlist``).
"""

from typing import cast

import numpy as np
from scipy import sparse

from warmstart.abilities import AddsItems
from warmstart.controlled_lists import check_controls, genre_column
from warmstart.core import FitContext, LanguageModels, LMRole, Recommender, Traits
from warmstart.data.catalogue import Catalogue
from warmstart.data.dataset import Dataset
from warmstart.data.histories import Histories
from warmstart.data.queries import Queries
from warmstart.genre_planning.constraint import MAX_GENRES
from warmstart.genre_planning.decoding import Asked, ListWriter
from warmstart.genre_planning.fit import fit_adapters
from warmstart.genre_planning.settings import DLCRecConfig
from warmstart.genre_planning.shortlist import Shortlist
from warmstart.genre_planning.tasks import TaskName, TaskWriter, tasks_of
from warmstart.genre_planning.trails import TrailWriter
from warmstart.genre_planning.windows import GenreTable, Told
from warmstart.lm.causal import CausalLM, CausalReference
from warmstart.lm.ground import Grounding
from warmstart.lm.lora import TunableLM
from warmstart.process import check_process
from warmstart.storage import nest, unnest


class DLCRec(Recommender, AddsItems):
    """Writes lists with the number of genres, or the genres, that were asked for."""

    name = "dlcrec"
    config_type = DLCRecConfig
    traits = Traits(
        reads=frozenset({"interactions", "texts", "attributes"}),
        cold_items="content",
        answers=frozenset({"history"}),
        needs=frozenset({"causal", "encoder"}),
        scores_by_lm=True,
    )

    @property
    def needs(self) -> frozenset[LMRole]:
        """A text encoder grounds titles that are written freely."""
        return self.traits.needs if self.config.decoding == "free" else frozenset({"causal"})

    def _fit(self, data: Dataset, context: FitContext) -> None:
        self._models = context.models
        self._reference = CausalReference(self.fitted.lms["causal"], context.models.causal)
        self._writer: ListWriter | None = None
        causal = cast(CausalLM, context.causal)
        tasks = self._tasks(causal)
        tunable, epochs = fit_adapters(self.config, causal, tasks, data.histories, context)
        self._adapters = {task: own.adapter() for task, own in tunable.items()}
        self.fitted.choices = {"training": {"epochs": epochs}}
        shortlist = self.config.shortlist
        self._shortlist = None if shortlist is None else Shortlist.fit(shortlist, data, context)

    def _tasks(self, causal: CausalLM) -> TaskWriter:
        config, catalogue = self.config, self.fitted.catalogue
        table = self._table(first_only=config.first_genre_only)
        trails = TrailWriter(causal, catalogue.names, table.names, config.prompts)
        return TaskWriter(trails, table, config)

    def _table(self, *, first_only: bool) -> GenreTable:
        catalogue = self.fitted.catalogue
        return GenreTable.of(catalogue.attribute(genre_column(catalogue)), first_only=first_only)

    @property
    def list_writer(self) -> ListWriter:
        """What writes the lists; its steps can be run one by one."""
        if self._writer is None:
            models: dict[TaskName, CausalLM] = {
                task: self._adapted(task) for task in tasks_of(self.config.plan)
            }
            grounding = None
            if self.config.decoding == "free":
                assert self._models.encoder is not None
                grounding = Grounding(self.fitted.catalogue.names, self._models.encoder)
            tasks = self._tasks(CausalLM(self._reference.lm))
            self._writer = ListWriter(models, tasks, grounding)
        return self._writer

    def _adapted(self, task: TaskName) -> CausalLM:
        tunable = TunableLM(self._reference.lm, self.config.lora, np.random.default_rng(0))
        tunable.load_adapter(self._adapters[task])  # overwrites what was drawn
        return CausalLM(tunable.tuned())

    # -- lists --

    def top_items(
        self,
        queries: Queries,
        candidates: np.ndarray,
        k: int,
        *,
        masked: sparse.csr_matrix | None = None,
        tie_order: np.ndarray | None = None,
        tie_shift: np.ndarray | None = None,
    ) -> tuple[np.ndarray, np.ndarray]:
        """As ``Recommender.top_items``; lists with wanted genres are written by the LM.

        The score of an item of a written list is its place, negative. A list that cannot be written
        as asked is made of the scores, as for any other method.
        """
        check_process()
        positions = np.full((len(queries), k), -1, np.int32)
        scores = np.full((len(queries), k), np.nan, np.float32)
        written = self._asks_for_genres(queries)
        if written.any():
            check_controls(self.fitted, queries)
            self._check_answers(queries)
            rows = np.flatnonzero(written)
            own = candidates if candidates.ndim == 1 else candidates[rows]
            out = None if masked is None else masked[rows]
            found = self._written(queries.take(rows), own, k, out)
            positions[rows] = found
            scores[rows] = np.where(found >= 0, -np.arange(k, dtype=np.float32), np.nan)
            written[rows] = (found >= 0).any(axis=1)
        rest = np.flatnonzero(~written)
        if len(rest):
            positions[rest], scores[rest] = super().top_items(
                queries.take(rest),
                candidates if candidates.ndim == 1 else candidates[rest],
                k,
                masked=None if masked is None else masked[rest],
                tie_order=tie_order,
                tie_shift=tie_shift,
            )
        return positions, scores

    def _asks_for_genres(self, queries: Queries) -> np.ndarray:
        """Which queries have a history, and want a number of genres or named ones: bool."""
        if queries.controls is None:
            return np.zeros(len(queries), bool)
        wanted = [
            bool(control.n_genres or control.genres)
            and max(control.n_genres or 0, len(control.genres or ())) <= MAX_GENRES
            for control in queries.controls
        ]
        return np.array(wanted, bool) & (queries.histories_or(self.fitted.histories).lengths > 0)

    def _written(
        self, queries: Queries, candidates: np.ndarray, k: int, masked: sparse.csr_matrix | None
    ) -> np.ndarray:
        """Write lists: positions among the candidates, int32, shape (queries, k)."""
        assert queries.controls is not None
        n_items = len(self.fitted.catalogue)
        own = np.broadcast_to(candidates, (len(queries), candidates.shape[-1]))
        open_ = ~self._unknown(own)
        if masked is not None:
            open_[masked.nonzero()] = False
        allowed = np.zeros((len(queries), n_items), bool)
        rows, places = np.nonzero(open_)
        allowed[rows, own[rows, places]] = True
        listed = np.full((len(queries), k), -1, np.int64)
        for first_only in {control.first_genre_only for control in queries.controls}:
            some = np.flatnonzero([c.first_genre_only == first_only for c in queries.controls])
            listed[some] = self._lists(queries.take(some), allowed[some], k, first_only)
        found = np.full(listed.shape, -1, np.int32)
        position = np.empty(n_items, np.int32)
        for row, items in enumerate(listed):
            position[own[row]] = np.arange(own.shape[1])
            found[row] = np.where(items >= 0, position[items], -1)
        return found

    def _lists(self, queries: Queries, allowed: np.ndarray, k: int, first_only: bool) -> np.ndarray:
        assert queries.controls is not None
        table = self._table(first_only=first_only)
        histories = queries.histories_or(self.fitted.histories)
        scores = None
        if self._shortlist is not None:
            scores = self._shortlist.scores(histories, allowed.shape[1])
            allowed = allowed & ~np.isnan(scores)
        genres = tuple(
            None if control.genres is None else _named(control.genres, table, histories[row])
            for row, control in enumerate(queries.controls)
        )
        numbers = tuple(
            c.n_genres or (0 if own is None else len(own))
            for c, own in zip(queries.controls, genres, strict=True)
        )
        return self.list_writer.write(
            Asked(self.told(histories), numbers, genres, allowed, table.matrix, k, scores)
        )

    def told(self, histories: Histories) -> tuple[Told, ...]:
        """What a prompt tells of histories: their newest items, with their first genres."""
        table = self.list_writer.table
        newest = histories.last(self.config.history_length)
        return tuple(table.told(newest[row]) for row in range(len(newest)))

    def _score_histories(self, histories: Histories, items: np.ndarray) -> np.ndarray:
        return self.list_writer.scores(self.told(histories))[:, items]

    @property
    def counts_in_histories(self) -> np.ndarray:
        """Warm items, and those with a text."""
        return self.fitted.warm | self.fitted.catalogue.has_text

    # -- items, artefact --

    def _add_items(self, items: Catalogue) -> None:
        self._writer = None  # its titles are those of the catalogue

    def _state(self) -> dict[str, np.ndarray]:
        state = {} if self._shortlist is None else nest("shortlist", self._shortlist.state())
        for task, adapter in self._adapters.items():
            state |= nest(task, adapter)
        return state

    def _restore(self, state: dict[str, np.ndarray], models: LanguageModels) -> None:
        self._models, self._writer = models, None
        self._reference = CausalReference(self.fitted.lms["causal"], models.causal)
        self._shortlist = None
        if self.config.shortlist is not None:
            arrays = unnest("shortlist", state)
            self._shortlist = Shortlist.restore(self.config.shortlist, arrays, self.fitted.warm)
        self._adapters = {task: unnest(task, state) for task in tasks_of(self.config.plan)}


def _named(genres: tuple[str, ...], table: GenreTable, history: np.ndarray) -> np.ndarray:
    """Columns of named genres, the most frequent in the history first, as the LM learned them."""
    columns = np.array([table.names.index(name) for name in dict.fromkeys(genres)])
    counts = table.matrix[history].sum(axis=0)[columns]
    return columns[np.argsort(-counts, kind="stable")]

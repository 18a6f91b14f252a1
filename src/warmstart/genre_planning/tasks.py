"""The training examples of the adapters: predict genres, fill places, predict items.

    task      asked                                answer
    genres    the number of genres                 the genres of the list, the most frequent first
    places    the genres                           the genre of each place
    items     "cascade"          the genre of each place      the titles, each after its genre
              "without_filling"  the genres                   the titles
              "one_pass"         the number of genres         the genres, then genres and titles
              "absent"           the number of genres         the titles

The public code asks for places and items by a trail with gaps and has the whole trail repeated.
Here an answer has nothing but what was asked for, which is shorter and learns no copying.
"""

from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from warmstart.genre_planning.settings import DLCRecConfig, Plan
from warmstart.genre_planning.trails import TrailWriter
from warmstart.genre_planning.windows import NO_GENRE, GenreTable, Told, Window, by_frequency
from warmstart.lm.supervised import Examples
from warmstart.lm.texts import TokenizedTexts

TaskName: TypeAlias = Literal["genres", "places", "items"]


def tasks_of(plan: Plan) -> tuple[TaskName, ...]:
    """The tasks that a plan trains."""
    if plan == "cascade":
        return ("genres", "places", "items")
    return ("genres", "items") if plan == "without_filling" else ("items",)


class TaskWriter:
    """Writes questions and examples of the tasks.

    Args:
        trails: writes items and genres.
        table: the genres of the items.
        config: the settings.
    """

    def __init__(self, trails: TrailWriter, table: GenreTable, config: DLCRecConfig) -> None:
        self.trails, self.table, self.config = trails, table, config

    # -- questions --

    def ask_genres(self, numbers: Sequence[int]) -> list[str]:
        """The questions for so many genres."""
        asked = self.config.prompts.ask_genres
        return [f"{self.trails.number_hint(number)} {asked}" for number in numbers]

    def ask_places(self, genres: Sequence[np.ndarray], length: int) -> list[str]:
        """The questions for the genre of each of so many places."""
        asked = self.config.prompts.ask_places.format(length=length)
        return [f"{self.trails.genres_hint(own)} {asked}" for own in genres]

    def ask_items(self, genres: Sequence[np.ndarray | None], length: int) -> list[str]:
        """The questions for so many items, with genres as far as the plan tells them here."""
        asked, plan = self.config.prompts.ask_items.format(length=length), self.config.plan
        if plan == "cascade":
            return [asked] * len(genres)
        if plan == "without_filling":
            return [f"{self.trails.genres_hint(own)} {asked}" for own in genres]
        if plan == "one_pass":
            asked = f"{self.config.prompts.ask_genres} {asked}"
        numbers = [None if own is None else len(own) for own in genres]
        return [f"{self.trails.number_hint(number)} {asked}" for number in numbers]

    # -- examples --

    def examples(
        self, task: TaskName, windows: Sequence[Window], rng: np.random.Generator
    ) -> Examples:
        """Write the examples of a task; ``rng`` draws which ones hide the genres."""
        wanted: list[np.ndarray | None] = [self._genres_of(window.future) for window in windows]
        lengths = [len(window.future) for window in windows]
        if task == "items":
            hidden = rng.random(len(windows)) < self.config.hidden_rate
            wanted = [None if hide else own for hide, own in zip(hidden, wanted, strict=True)]
            questions = [
                self.ask_items([own], n)[0] for own, n in zip(wanted, lengths, strict=True)
            ]
            answers = [
                self._items(window.future, own) for window, own in zip(windows, wanted, strict=True)
            ]
            return self._examples(windows, questions, answers)
        known = [own for own in wanted if own is not None and len(own)]
        kept = [window for window in windows if (window.future.genres != NO_GENRE).any()]
        if task == "genres":
            questions = self.ask_genres([len(own) for own in known])
            lines = [self.trails.genre_lines(own) for own in known]
        else:
            questions = [
                self.ask_places([by_frequency(window.future.genres)], len(window.future))[0]
                for window in kept
            ]
            lines = [self.trails.genre_lines(window.future.genres) for window in kept]
        return self._examples(kept, questions, [(ids, [True] * len(ids)) for ids in lines])

    def _genres_of(self, future: Told) -> np.ndarray:
        """The genres that a list has: told ones or, if any counts, those of its items."""
        if self.table.first_only:
            return by_frequency(future.genres)
        return by_frequency(
            np.concatenate([future.genres, np.nonzero(self.table.matrix[future.items])[1]])
        )

    def _items(self, future: Told, wanted: np.ndarray | None) -> tuple[list[int], list[bool]]:
        plan = self.config.plan
        if plan in ("absent", "without_filling"):
            return self.trails.item_lines(future, genres=False)
        if wanted is None:
            future = Told(future.items, np.full(len(future), NO_GENRE, np.int32))
        tokens, learned = self.trails.item_lines(future)
        if plan == "cascade" or wanted is None:
            return tokens, learned
        genres = self.trails.genre_lines(by_frequency(future.genres))
        return [*genres, *tokens], [True] * (len(genres) + len(tokens))

    def _examples(
        self,
        windows: Sequence[Window],
        questions: Sequence[str],
        answers: Sequence[tuple[list[int], list[bool]]],
    ) -> Examples:
        room = max((len(tokens) for tokens, _ in answers), default=0)
        prompts = self.trails.prompts([window.history for window in windows], questions, room=room)
        every = self.config.training.loss == "all"
        rows, masks = [], []
        for prompt, (tokens, learned) in zip(prompts.ids, answers, strict=True):
            answer = [*tokens[:-1], self.trails.end]  # nothing separates the last line
            rows.append(np.concatenate([prompt, np.array(answer, np.int32)]))
            masks.append(np.array([*[every] * len(prompt), *(every or one for one in learned)]))
        texts = TokenizedTexts(tuple(rows), prompts.pad_id, prompts.n_cut)
        return Examples(texts, tuple(masks))

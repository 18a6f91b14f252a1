"""Write lists: which genres, the genre of each place, and the items, as a plan and decoding say."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from warmstart.genre_planning.constraint import ListConstraint
from warmstart.genre_planning.tasks import TaskName, TaskWriter
from warmstart.genre_planning.windows import NO_GENRE, Told
from warmstart.lm.causal import CausalLM
from warmstart.lm.generate import generate, generate_lists
from warmstart.lm.ground import Grounding
from warmstart.lm.texts import TokenizedTexts
from warmstart.lm.title_scores import title_scores
from warmstart.lm.trie import Trie


@dataclass(frozen=True)
class Asked:
    """Lists that are asked for.

    Attributes:
        told: what each person had.
        numbers: number of genres wanted, for each list.
        genres: the genres wanted, for each list; None leaves them to the plan.
        allowed: the items that may be listed, bool, shape (lists, items).
        table: the genres of the items that count in the lists, bool, shape (items, genres).
        length: items of a list.
        scores: of a collaborative model, float32, shape (lists, items), NaN for what it does not
            know; where there is one, only its best items may be written (``shortlist``).
    """

    told: tuple[Told, ...]
    numbers: tuple[int, ...]
    genres: tuple[np.ndarray | None, ...]
    allowed: np.ndarray
    table: np.ndarray
    length: int
    scores: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.told)


class ListWriter:
    """Writes lists by the adapters of the tasks.

    Args:
        models: the LM with the adapter of each task.
        tasks: writes the questions.
        grounding: finds the items of freely written titles; for decoding "free".

    Attributes:
        table: the genres that items are told with.
    """

    def __init__(
        self,
        models: Mapping[TaskName, CausalLM],
        tasks: TaskWriter,
        grounding: Grounding | None = None,
    ) -> None:
        self._models, self._tasks, self._grounding = models, tasks, grounding
        self._trails, self._config = tasks.trails, tasks.config
        self.table = tasks.table
        pairs = np.argwhere(self.table.matrix)
        self._pair_items, self._pair_genres = pairs.T

    def write(self, asked: Asked) -> np.ndarray:
        """Write lists: items, int64, shape (lists, length); -1 from where none is left.

        A list whose genres no allowed items can have is empty.
        """
        genres = self.choose_genres(asked)
        places = None
        if self._config.plan == "cascade":
            places = self.fill_places(asked, genres)
        return self.choose_items(asked, genres, places)

    # -- genres --

    def choose_genres(self, asked: Asked) -> list[np.ndarray]:
        """Choose the genres of each list, where they are not given: int64, most frequent first."""
        open_ = [row for row, own in enumerate(asked.genres) if own is None]
        chosen = [np.zeros(0, np.int64) if own is None else own for own in asked.genres]
        plan = self._config.plan
        if not open_ or plan == "absent":
            return chosen
        told = [asked.told[row] for row in open_]
        numbers = [asked.numbers[row] for row in open_]
        if plan == "one_pass":
            unknown = [np.zeros(number, np.int64) for number in numbers]
            questions, model = self._tasks.ask_items(unknown, asked.length), self._models["items"]
        else:
            questions, model = self._tasks.ask_genres(numbers), self._models["genres"]
        prompts = self._prompts(told, questions, max(numbers) * self._longest_genre)
        found = self._written_genres(asked, open_, numbers, model, prompts)
        for row, own in zip(open_, found, strict=True):
            chosen[row] = own
        return chosen

    def _written_genres(
        self,
        asked: Asked,
        rows: list[int],
        numbers: list[int],
        model: CausalLM,
        prompts: TokenizedTexts,
    ) -> list[np.ndarray]:
        if self._config.decoding != "genres":
            lines = self._free_lines(model, prompts, max(numbers) * self._longest_genre)
            return [np.array(list(dict.fromkeys(g for g in own if g != NO_GENRE)), np.int64)
                    for own in lines]  # fmt: skip
        present = np.stack([asked.table[asked.allowed[row]].any(axis=0) for row in rows])
        none = np.zeros(present.shape[1], bool)

        def allowed(prompt: int, listed: np.ndarray) -> np.ndarray:
            return present[prompt] if len(listed) < numbers[prompt] else none

        found = generate_lists(
            model, prompts, self._trails.genre_trie, length=max(numbers),
            separator=self._trails.separator, allowed=allowed,
        )  # fmt: skip
        return [own[own >= 0] for own in found]

    # -- places --

    def fill_places(self, asked: Asked, genres: Sequence[np.ndarray]) -> np.ndarray:
        """Choose the genre of each place: int64, shape (lists, length); ``NO_GENRE`` for any."""
        length, model = asked.length, self._models["places"]
        questions = self._tasks.ask_places(genres, length)
        prompts = self._prompts(asked.told, questions, length * self._longest_genre)
        if self._config.decoding != "genres":
            found = np.full((len(asked), length), NO_GENRE, np.int64)
            for row, own in enumerate(
                self._free_lines(model, prompts, length * self._longest_genre)
            ):
                found[row, : len(own)] = own[:length]
            return found
        wanted = np.zeros((len(asked), asked.table.shape[1]), bool)
        for row, own in enumerate(genres):
            wanted[row, own] = True

        def allowed(prompt: int, listed: np.ndarray) -> np.ndarray:
            needed = wanted[prompt].copy()
            needed[listed] = False
            return needed if needed.sum() >= length - len(listed) else wanted[prompt]

        return generate_lists(
            model, prompts, self._trails.genre_trie, length=length,
            separator=self._trails.separator, allowed=allowed, distinct=False,
        )  # fmt: skip

    # -- items --

    def choose_items(
        self, asked: Asked, genres: Sequence[np.ndarray], places: np.ndarray | None
    ) -> np.ndarray:
        """Choose the items: int64, shape (lists, length); -1 from where none is left.

        Args:
            asked: what is asked for.
            genres: of each list.
            places: the genre of each place; for the plan "cascade" only.
        """
        told_genres: list[np.ndarray | None] = list(genres)
        if self._config.plan == "absent":
            told_genres = [np.zeros(number, np.int64) for number in asked.numbers]
        questions = self._tasks.ask_items(told_genres, asked.length)
        room = asked.length * self._trails.longest_line
        if self._config.plan == "one_pass":
            room += max(asked.numbers) * self._longest_genre
        prompts = self._prompts(asked.told, questions, room)
        if self._config.plan == "one_pass":
            prompts = _continued(prompts, [self._trails.genre_lines(own) for own in genres])
        constraints = None
        if self._config.decoding == "genres":
            constraints = [
                ListConstraint(asked.table, own, mask & (len(own) == number), asked.length)
                for own, mask, number in zip(genres, asked.allowed, asked.numbers, strict=True)
            ]
        if self._config.decoding == "free":
            return self._free_items(asked, prompts, places)
        if self._config.plan == "one_pass":
            return self._items_with_genres(asked, prompts, constraints)
        return self._items(asked, prompts, places, constraints)

    def _items(
        self,
        asked: Asked,
        prompts: TokenizedTexts,
        places: np.ndarray | None,
        constraints: Sequence[ListConstraint] | None,
    ) -> np.ndarray:
        """Titles from the trie; the genre of the place, if there is one, is written before it."""
        openings = None
        if places is not None:
            openings = [[self._trails.opening(genre) for genre in own] for own in places.tolist()]

        def allowed(prompt: int, listed: np.ndarray) -> np.ndarray:
            if constraints is None:
                open_ = asked.allowed[prompt].copy()
                open_[listed] = False
            elif constraints[prompt].possible:
                wanted = NO_GENRE if places is None else int(places[prompt, len(listed)])
                open_ = constraints[prompt].next_items(listed, wanted)
            else:
                open_ = np.zeros_like(asked.allowed[prompt])
            return self._best(asked, prompt, open_)

        return generate_lists(
            self._models["items"], prompts, self._trails.title_trie, length=asked.length,
            separator=self._trails.separator, openings=openings, allowed=allowed,
        )  # fmt: skip

    def _items_with_genres(
        self,
        asked: Asked,
        prompts: TokenizedTexts,
        constraints: Sequence[ListConstraint] | None,
    ) -> np.ndarray:
        """Lines of a genre and a title that has it, both from the trie."""
        items = self._pair_items
        lines = [
            [*self._trails.opening(genre), *self._trails.titles[item]]
            for item, genre in zip(items.tolist(), self._pair_genres.tolist(), strict=True)
        ]

        def allowed(prompt: int, listed: np.ndarray) -> np.ndarray:
            mask = asked.allowed[prompt].copy()
            if constraints is not None:
                own = constraints[prompt]
                mask = own.next_items(items[listed]) if own.possible else np.zeros_like(mask)
            mask[items[listed]] = False
            return self._best(asked, prompt, mask)[items]

        found = generate_lists(
            self._models["items"], prompts, Trie(lines), length=asked.length,
            separator=self._trails.separator, allowed=allowed,
        )  # fmt: skip
        return np.where(found >= 0, items[found], -1)

    def _best(self, asked: Asked, prompt: int, open_: np.ndarray) -> np.ndarray:
        """Of the items that may be next, those that the collaborative model scores highest."""
        shortlist = self._config.shortlist
        if asked.scores is None or shortlist is None:
            return open_
        items = np.flatnonzero(open_)
        best = items[np.argsort(-asked.scores[prompt, items], kind="stable")[: shortlist.items]]
        kept = np.zeros_like(open_)
        kept[best] = True
        return kept

    def _free_items(
        self, asked: Asked, prompts: TokenizedTexts, places: np.ndarray | None
    ) -> np.ndarray:
        """Any text on each line, which means the item with the nearest title."""
        assert self._grounding is not None, "decoding 'free' has a text encoder"
        trails, model = self._trails, self._models["items"]
        texts: list[list[str]] = [[] for _ in range(len(asked))]
        has_genre = self._config.plan == "one_pass"
        for place in range(asked.length):
            if places is not None:
                openings = [trails.opening(int(own[place])) for own in places]
                prompts = _continued(prompts, openings)
            lines = generate(
                model, prompts, max_new_tokens=trails.longest_line, stop=trails.separator
            )
            for row, line in enumerate(lines):
                text = self._text(line)
                texts[row].append(text.partition(":")[2] if has_genre else text)
            prompts = _continued(prompts, [[*line, trails.separator] for line in lines])
        grounded = self._grounding.ground(
            texts, allowed=lambda prompt, listed: asked.allowed[prompt]
        )
        found = np.full((len(asked), asked.length), -1, np.int64)
        for row, own in enumerate(grounded):  # an empty line means no item, and leaves no gap
            kept = own.items[own.items >= 0]
            found[row, : len(kept)] = kept
        return found

    # -- scores --

    def scores(self, told: Sequence[Told]) -> np.ndarray:
        """Score all items as the first of a list without wanted genres.

        Returns:
            float32, shape (told, items); see ``title_scores``.
        """
        config, trails = self._config, self._trails
        questions = self._tasks.ask_items([None] * len(told), config.list_length)
        prompts = self._prompts(told, questions, config.list_length * trails.longest_line)
        if config.plan in ("cascade", "one_pass"):
            prompts = _continued(prompts, [trails.opening(NO_GENRE)] * len(told))
        return title_scores(
            self._models["items"], prompts, trails.titles, end=trails.separator,
            depth=config.depth, beam=config.beam,
        )  # fmt: skip

    # -- shared --

    @property
    def _longest_genre(self) -> int:
        return self._trails.genre_trie.longest + 1

    def _prompts(self, told: Sequence[Told], questions: Sequence[str], room: int) -> TokenizedTexts:
        return self._trails.prompts(told, questions, room=room)

    def _free_lines(self, model: CausalLM, prompts: TokenizedTexts, limit: int) -> list[list[int]]:
        """The genres that a model writes, one on each line, up to a line with a colon."""
        found = []
        for written in generate(model, prompts, max_new_tokens=limit):
            ends = np.flatnonzero(written == self._trails.separator)
            lines = [self._text(line) for line in np.split(written, ends)]
            genres = next((at for at, line in enumerate(lines) if ":" in line), len(lines))
            found.append([self._trails.read_genre(line) for line in lines[:genres]])
        return found

    def _text(self, tokens: np.ndarray) -> str:
        kept = tokens[tokens != self._trails.separator].tolist()
        return self._trails.text(kept)


def _continued(prompts: TokenizedTexts, more: Sequence[Sequence[int]]) -> TokenizedTexts:
    """Prompts with more tokens after each."""
    rows = [
        np.concatenate([ids, np.asarray(own, np.int32)])
        for ids, own in zip(prompts.ids, more, strict=True)
    ]
    return TokenizedTexts(tuple(rows), prompts.pad_id, prompts.n_cut)

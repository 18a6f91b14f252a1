"""Trails: items with their genres, in the tokens of a language model, one on each line.

    introduction
    Comedy: Toy Story (1995)          the items that a person had; the oldest go if all is too long
    Drama: Heat (1995)
    question
    Comedy: ...                       the answer, in the same form

What catalogues write is tokenised without special tokens, so that ``<|im_end|>`` in a title ends
nothing.
"""

from collections.abc import Sequence

import numpy as np

from warmstart.errors import ConfigError
from warmstart.genre_planning.settings import PromptConfig
from warmstart.genre_planning.windows import NO_GENRE, Told
from warmstart.lm.causal import CausalLM
from warmstart.lm.generate import end_token
from warmstart.lm.prompts import chat, opening_ids
from warmstart.lm.texts import TokenizedTexts, token_ids
from warmstart.lm.trie import Trie

HIDDEN = "?"
_PLACE = "[here stands what the person had]"
_UNNAMED = "item"  # of an item with neither title nor text


class TrailWriter:
    """Writes items, genres and prompts in the tokens of a causal LM.

    Args:
        model: the language model.
        titles: what names each item.
        genres: names of the genres.
        config: words.

    Attributes:
        titles: tokens of each title; none is empty.
        title_trie, genre_trie: of the titles, and of the names of genres.
        separator: the token between two lines; no title or genre contains it.
        end: the token that ends an answer.
    """

    def __init__(
        self, model: CausalLM, titles: Sequence[str], genres: Sequence[str], config: PromptConfig
    ) -> None:
        self._lm, self._config, self._names = model.lm, config, tuple(genres)
        self.end = end_token(model)
        self.titles = self._named([" " + " ".join(title.split()) for title in titles])
        plain = [" ".join(genre.split()) for genre in genres]
        self._genres = self._named(plain)
        self._number_of = {name: number for number, name in reversed(list(enumerate(plain)))}
        self._hidden, self._colon = self._words(HIDDEN), self._words(":")
        self.title_trie, self.genre_trie = Trie(self.titles), Trie(self._genres)
        self.separator = self._separator()
        before, _, self._after = chat(self._lm, f"{config.introduction}\n{_PLACE}").partition(
            _PLACE
        )
        self._before = [*opening_ids(self._lm), *self._words(before)]
        self._limit = min(config.max_tokens, self._lm.spec.max_tokens)

    def genre_lines(self, genres: Sequence[int] | np.ndarray) -> list[int]:
        """Write genres, one on each line; each line ends with the separator."""
        return [
            token
            for genre in np.asarray(genres, np.int64).tolist()
            for token in (*self._genre(genre), self.separator)
        ]

    def opening(self, genre: int) -> list[int]:
        """The tokens before a title: its genre, or that it is hidden (``NO_GENRE``)."""
        return [*self._genre(genre), *self._colon]

    def item_lines(self, told: Told, *, genres: bool = True) -> tuple[list[int], list[bool]]:
        """Write items, one on each line, after their genres or alone.

        Returns:
            The tokens, and which of them belong to titles or end a line.
        """
        tokens: list[int] = []
        of_title: list[bool] = []
        for item, genre in zip(told.items.tolist(), told.genres.tolist(), strict=True):
            before = self.opening(genre) if genres else []
            line = [*self.titles[item], self.separator]
            tokens += [*before, *line]
            of_title += [False] * len(before) + [True] * len(line)
        return tokens, of_title

    def number_hint(self, number: int | None) -> str:
        """Write how many genres are wanted; None hides it."""
        return self._config.number_hint.format(number=HIDDEN if number is None else number)

    def genres_hint(self, genres: np.ndarray | None) -> str:
        """Write which genres are wanted; None hides them."""
        names = HIDDEN if genres is None else ", ".join(self._names[genre] for genre in genres)
        return self._config.genres_hint.format(genres=names)

    def prompts(
        self, told: Sequence[Told], questions: Sequence[str], *, room: int
    ) -> TokenizedTexts:
        """Write the prompts for answers.

        Args:
            told: what each person had.
            questions: what is asked of each.
            room: tokens that the answer may have.

        Raises:
            ConfigError: the LM reads too few tokens for question and answer.
        """
        asked = {text: self._words(f"\n{text}{self._after}") for text in dict.fromkeys(questions)}
        rows, n_cut = [], 0
        for own, question in zip(told, questions, strict=True):
            trail, _ = self.item_lines(own)
            free = self._limit - room - len(self._before) - len(asked[question])
            if free < 0:
                raise ConfigError(
                    f"a prompt has {self._limit - free - room} tokens without the items that a "
                    f"person had, and the answer may have {room}, but the LM reads {self._limit} "
                    "(max_tokens); lower list_length or title_tokens, or shorten the prompts"
                )
            n_cut += len(trail) > free
            trail = trail[len(trail) - min(free, len(trail)) :]
            rows.append(np.array([*self._before, *trail, *asked[question]], np.int32))
        return TokenizedTexts(tuple(rows), self._lm.pad_id, n_cut)

    @property
    def longest_line(self) -> int:
        """Number of tokens of the longest line: genre, title and separator."""
        return self.title_trie.longest + self.genre_trie.longest + len(self._colon) + 1

    def read_genre(self, text: str) -> int:
        """The genre with this name; ``NO_GENRE`` if there is none."""
        return self._number_of.get(" ".join(text.split()), NO_GENRE)

    def text(self, tokens: Sequence[int]) -> str:
        """The text of written tokens."""
        with self._lm.lock:
            return str(self._lm.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _genre(self, genre: int) -> list[int]:
        return self._hidden if genre == NO_GENRE else self._genres[genre]

    def _named(self, texts: Sequence[str]) -> list[list[int]]:
        unnamed = self._words(" " + _UNNAMED) or [self._lm.pad_id]
        found = token_ids(self._lm, list(texts), special=False, plain=True)
        return [(ids or unnamed)[: self._config.title_tokens] for ids in found]

    def _words(self, text: str) -> list[int]:
        return token_ids(self._lm, [text], special=False)[0]

    def _separator(self) -> int:
        """A line break, or where that is no token of its own one that stands in no line."""
        lines = self._words("\n")
        every = range(max(self.title_trie.largest_token, self.genre_trie.largest_token) + 2)
        return next(
            token
            for token in (*(lines if len(lines) == 1 else ()), *every)
            if token != self.end
            and not (self.title_trie.contains(token) or self.genre_trie.contains(token))
        )

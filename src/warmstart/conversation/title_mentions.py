"""Which items of the catalogue a text names.

Names are compared word by word, so that case, accents, punctuation and typographic quotes do not
matter. Titles may end in a year, "Heat (1995)"; people write them with it, without it, or as "Heat
1995". The longest name that starts at a word wins: "Star Wars: A New Hope" is not "Star Wars".

- One or two common words ("Up", "Get Out") are a name only with the year, in quotes, with the
  capitals of the title (a single word: where no sentence begins), or, if there are two, after a
  word such as "seen". ``common_words`` has the words.
- A name that goes on ("Star Trek: Of Gods and Men", "Keanu Reeves", "War and Peace (2002)")
  is another name.
- Of several items with one name, the year decides. A year that none of them has stands for another
  work, which is none of the items. Without a year, the item that the text named before, then the
  one whose title has no year, then the most popular, then the newest.

Measured in docs/conversation.md. A text takes time in proportion to its words, whatever the
number of titles. A name within a run of Chinese or Japanese is found, since each sign is a word.
"""

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from warmstart.conversation.common_words import COMMON_WORDS
from warmstart.conversation.title_words import (
    APOSTROPHES,
    as_key,
    as_written,
    split_title,
    ways_to_write,
    words_of,
)
from warmstart.data.dialogues import SPEAKERS
from warmstart.data.histories import Histories

_SPEAKER = re.compile(rf"\s*(?:{'|'.join(SPEAKERS)}):", re.IGNORECASE)
_QUOTES = '"\u201c\u201d\u201e\u00ab\u00bb*_' + APOSTROPHES
_BEFORE_YEAR = set(" ,([" + _QUOTES)
_SENTENCE_END = ".!?:;"
_SUBTITLE = re.compile(r"\s?[:\u2013\u2014]\s?[^\W\d_a-z]")
_LONGEST_REST = 7  # words after the beginning of a name
_MOST_COMMON_WORDS = 2  # of a name that people also write for something else
# Words that begin a sentence, also where the point before is missing: "I liked Heat It was good".
_STARTERS = """
    it its he she we they you this that these those there what which who when where why how is are
    was were do does did can could will would have has if so but and or not no yes oh ok
"""
# Words before a name.
_CUES = """
    seen saw watched see watch read played like liked love loved enjoy enjoyed recommend recommended
    suggest try called named about heard
"""
_STARTING, _CUING = frozenset(_STARTERS.split()), frozenset(_CUES.split())


class TitleMentions:
    """Finds the items that texts name; see the module docstring.

    Args:
        titles: the title of each item, in row order; an item with an empty title is never named.
        popularity: number of each item, shape (items,), a higher one of likelier items; None leaves
            the choice between items of one name to their years.
    """

    def __init__(self, titles: Sequence[str], popularity: np.ndarray | None = None) -> None:
        self._years: list[int | None] = []
        self._written: set[str] = set()
        ranked: dict[str, list[tuple[bool, bool, float, int, int]]] = defaultdict(list)
        for row, title in enumerate(titles):
            name, year = split_title(title)
            self._years.append(year)
            popular = 0.0 if popularity is None else float(popularity[row])
            for position, words in enumerate(ways_to_write(name)):
                own = position == 0
                place = own, own and year is None, popular, year or 0, -row
                ranked[as_key(words)].append(place)
                self._written.add(as_written(words))
        self._rows: dict[str, list[int]] = {}
        lengths: dict[str, set[int]] = defaultdict(set)
        for key, places in ranked.items():
            self._rows[key] = [-row for *_, row in sorted(places, reverse=True)]
            lengths[key.split(" ", 1)[0]].add(key.count(" ") + 1)
        self._lengths = {first: sorted(found, reverse=True) for first, found in lengths.items()}

    def find(self, texts: Sequence[str]) -> Histories:
        """Find the items that each text names, each once, in the order of their first mention.

        Args:
            texts: dialogues, one line per turn; ``User:`` and ``System:`` at its start are no words
                of the turn, and no name reaches over the end of a line.

        Returns:
            One history of item rows for each text.
        """
        return Histories.from_lists([self._named(text) for text in texts])

    def _named(self, text: str) -> list[int]:
        found: dict[int, None] = {}
        for line in text.splitlines():
            speaker = _SPEAKER.match(line)
            said = _Line(line[speaker.end() :] if speaker else line)
            at = 0
            while at < len(said.words):
                row, read = self._named_at(said, at, found)
                if row is not None:
                    found[row] = None
                at += read
        return list(found)

    def _named_at(self, said: "_Line", at: int, before: dict[int, None]) -> tuple[int | None, int]:
        """The item that the longest name at a word stands for, and the number of words read."""
        for length in self._lengths.get(said.words[at].folded, ()):
            end = at + length
            rows = self._rows.get(as_key(said.words[at:end]))
            if rows is None or end > len(said.words):
                continue
            year = said.year_at(end)
            if year is not None:
                same = [row for row in rows if self._years[row] == year]
                same += [row for row in rows if self._years[row] is None]
                if same:
                    return same[0], length + 1
            elif self._is_name(said, at, end):
                return next((row for row in rows if row in before), rows[0]), length
        return None, 1

    def _is_name(self, said: "_Line", start: int, end: int) -> bool:
        """Whether words without a year are the name, not the same words for something else."""
        words = said.words[start:end]
        if said.is_quoted(start, end):
            return True
        if said.goes_on(start, end) or self._is_begun(said, end):
            return False
        common = all(word.folded in COMMON_WORDS or word.folded.isdecimal() for word in words)
        if len(words) > _MOST_COMMON_WORDS or not common:
            return True
        as_title = as_written(words) in self._written
        if len(words) > 1:
            return as_title or said.is_cued(start)
        if words[0].folded in _STARTING and not said.ends_clause(end):
            return False
        return as_title and not said.asks_for_capital(start)

    def _is_begun(self, said: "_Line", end: int) -> bool:
        """Whether words only begin a name with a year that no item has: War and Peace (2002)."""
        at = said.year_in_parentheses(end)
        if at is None:
            return False
        return all(as_key(said.words[first:at]) not in self._rows for first in range(end, at))


class _Line:
    """What one turn says; ``start`` and ``end`` count its words."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.words = words_of(text)

    def year_at(self, at: int) -> int | None:
        """The year that follows a name, with or without parentheses."""
        if at >= len(self.words) or not set(self._gap(at)) <= _BEFORE_YEAR:
            return None
        return self.words[at].year

    def year_in_parentheses(self, end: int) -> int | None:
        """The word, a year in parentheses, that ends the words after a name without a sign."""
        for at in range(end, min(end + _LONGEST_REST, len(self.words))):
            gap = self._gap(at)
            if at > end and gap.strip() == "(" and self.words[at].year is not None:
                return at
            if gap != " ":
                return None
        return None

    def is_quoted(self, start: int, end: int) -> bool:
        """Whether words stand in quotes."""
        before = self.text[: self.words[start].start][-1:]
        after = self.text[self.words[end - 1].end :][:1]
        return bool(before and after) and before in _QUOTES and after in _QUOTES

    def goes_on(self, start: int, end: int) -> bool:
        """Whether words are a part of a longer name."""
        if _SUBTITLE.match(self.text, self.words[end - 1].end):
            return True
        if end - start > 1 or not self.words[start].is_capital:
            return False
        beside = [at for at in (start - 1, end) if 0 <= at < len(self.words)]
        return any(
            self.words[at].is_capital
            and self.words[at].folded not in COMMON_WORDS
            and self._gap(max(at, start)) == " "
            for at in beside
        )

    def is_cued(self, at: int) -> bool:
        """Whether the word before is one that names follow."""
        return at > 0 and self.words[at - 1].folded in _CUING and self._gap(at) == " "

    def ends_clause(self, end: int) -> bool:
        """Whether nothing follows, or punctuation, or another name of a list."""
        if end == len(self.words):
            return True
        return bool(self._gap(end).strip()) or self.words[end].folded in ("and", "or")

    def asks_for_capital(self, at: int) -> bool:
        """Whether a word has its capital from where it stands, not from a name."""
        before = self.text[: self.words[at].start].rstrip(" " + _QUOTES)
        if not before or before[-1] in _SENTENCE_END:
            return True
        around = self.words[max(at - 1, 0) : at] + self.words[at + 1 : at + 2]
        return any(word.is_capital for word in around)

    def _gap(self, at: int) -> str:
        """What stands between a word and the one before."""
        return self.text[self.words[at - 1].end : self.words[at].start]

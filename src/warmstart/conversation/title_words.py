"""The words of titles and of what people say, in the form in which they are compared."""

import re
import unicodedata
from dataclasses import dataclass

APOSTROPHES = "'`\u2019\u2018\u00b4\u02bc"
_SIGN = "\u3040-\u30ff\u3400-\u9fff"  # kana and Han, which have no spaces between words
_LETTERS = rf"(?:(?![{_SIGN}])[^\W_])+"
_WORD = re.compile(rf"[{_SIGN}]|(?:[^\W\d_]\.){{2,}}|{_LETTERS}(?:[{APOSTROPHES}]{_LETTERS})*|&")
_DROPPED = str.maketrans("", "", "." + APOSTROPHES)
_SAME = {
    "&": "and", "ii": "2", "iii": "3", "iv": "4", "vi": "6", "vii": "7", "viii": "8", "ix": "9",
}  # fmt: skip
_I = {"i", "im", "ive", "ill", "id"}
_YEAR = re.compile(r"(?:18|19|20)\d\d")
_IN_PARENTHESES = re.compile(r"\s*\([^)]*\)\s*$")
_MOVED_ARTICLE = re.compile(r"^(.+), (the|a|an)$", re.IGNORECASE)
_ARTICLES = {"the", "a", "an"}
_HYPHEN = re.compile(r"(?<=\w)[-\u2010\u2011\u00b7](?=\w)")
_MOST_WORDS = 20  # of a name; longer ones are texts of items without title


@dataclass(frozen=True)
class Word:
    """A word and where it stands.

    Attributes:
        written: the word as it is.
        folded: what is compared: without case, accents, apostrophes and dots; "and" for "&", digits
            for Roman numerals.
        start: place of its first letter in the text.
        end: place after its last letter.
    """

    written: str
    folded: str
    start: int
    end: int

    @property
    def is_capital(self) -> bool:
        """Whether it has a capital, other than the word "I"."""
        return self.written[0].isupper() and self.folded not in _I

    @property
    def year(self) -> int | None:
        """The year that it is, or None."""
        return int(self.folded) if _YEAR.fullmatch(self.folded) else None


def words_of(text: str) -> list[Word]:
    """Split a text into its words."""
    return [Word(m.group(), _folded(m.group()), m.start(), m.end()) for m in _WORD.finditer(text)]


def split_title(title: str) -> tuple[str, int | None]:
    """Split a title into its name, without what stands in parentheses after it, and its year.

    "Matrix, The (1999)" is ("The Matrix", 1999).
    """
    name, year = title, None
    while (found := _IN_PARENTHESES.search(name)) and found.start() > 0:
        inside = _YEAR.search(found.group())
        year = int(inside.group()) if inside and year is None else year
        name = name[: found.start()]
    moved = _MOVED_ARTICLE.match(name)
    return (f"{moved[2]} {moved[1]}" if moved else name), year


def ways_to_write(name: str) -> list[list[Word]]:
    """List the ways to write a name: as it is, with compounds as one word, without the article.

    The article stays where only one word would be left.
    """
    found: dict[str, list[Word]] = {}
    for form in (name, _HYPHEN.sub("", name)):
        words = words_of(form)
        found.setdefault(as_key(words), words)
    for words in list(found.values()):
        if len(words) > 2 and words[0].folded in _ARTICLES:
            found.setdefault(as_key(words[1:]), words[1:])
    return [words for words in found.values() if 0 < len(words) <= _MOST_WORDS]


def as_key(words: list[Word]) -> str:
    """What is looked up for words."""
    return " ".join(word.folded for word in words)


def as_written(words: list[Word]) -> str:
    """Words with their capitals, without what stands between them."""
    return " ".join(word.written for word in words)


def _folded(word: str) -> str:
    if not word.isascii():
        parts = unicodedata.normalize("NFKD", word)
        word = unicodedata.normalize(
            "NFC", "".join(p for p in parts if not unicodedata.combining(p))
        )
    word = word.casefold().translate(_DROPPED)
    return _SAME.get(word, word)

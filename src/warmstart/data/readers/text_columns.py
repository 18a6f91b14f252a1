"""Recognise columns of text by their values, whatever their names are."""

import polars as pl

_SAMPLE = 1000  # values; enough for a median
_MIN_WORDS, _MIN_DISTINCT = 7, 0.5  # an address or three names have fewer words
_URL = r"\S+://\S+"
# Some languages write no spaces between words; two characters are about one word there.
_WORD = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]{2}|\S*\p{L}\S*"


def looks_like_text(values: pl.Series) -> bool:
    """Whether values, String or List(String), are texts rather than names, URLs, codes or dates.

    They are if most of them differ and half of them have seven words or more. A word contains a
    letter and is not part of a URL.
    """
    sample = values.drop_nulls().head(_SAMPLE)
    if sample.dtype == pl.List:
        sample = sample.list.join(", ")
    if not len(sample) or sample.n_unique() < _MIN_DISTINCT * len(sample):
        return False
    words = sample.str.replace_all(_URL, "").str.count_matches(_WORD)
    return (words >= _MIN_WORDS).sum() * 2 >= len(sample)

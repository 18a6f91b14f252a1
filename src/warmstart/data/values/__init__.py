"""Interpret input values (ids, texts, lists, numbers, times) by the same rules for every source.

One function per kind of value reads cells of csv, jsonl and parquet files, columns of frames,
fields of requests, arguments and options. So a value means the same in every source. Every function
takes a whole column, and its error names the first wrong cell. ``docs/data.md`` has a table of the
rules.
"""

from warmstart.data.values.decoding import NULL_WORDS
from warmstart.data.values.id_values import is_normal_id, read_ids, read_ids_like
from warmstart.data.values.number_values import read_numbers, read_whole_numbers
from warmstart.data.values.text_values import (
    read_lists,
    read_texts,
    read_texts_or_lists,
    split_values,
)
from warmstart.data.values.time_values import read_times

__all__ = [
    "NULL_WORDS",
    "is_normal_id",
    "read_ids",
    "read_ids_like",
    "read_lists",
    "read_numbers",
    "read_texts",
    "read_texts_or_lists",
    "read_times",
    "read_whole_numbers",
    "split_values",
]

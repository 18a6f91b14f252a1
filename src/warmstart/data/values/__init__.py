"""The meaning of values: ids, texts, lists, numbers and times, by one rule for every source.

There is one function for each kind of value, and whatever a user brings passes through it: cells of
csv, jsonl and parquet files, columns of frames, fields of requests, arguments, options. So a value
means the same wherever it came from. Every function takes a whole column, and an error names the
first cell that is wrong. The rules stand in one table in ``docs/data.md``.
"""

from warmstart.data.values.decoding import NULL_WORDS
from warmstart.data.values.id_values import ids_like, is_normal_id, read_ids
from warmstart.data.values.number_values import read_numbers, read_whole_numbers
from warmstart.data.values.text_values import read_lists, read_texts
from warmstart.data.values.time_values import read_times

__all__ = [
    "NULL_WORDS",
    "ids_like",
    "is_normal_id",
    "read_ids",
    "read_lists",
    "read_numbers",
    "read_texts",
    "read_times",
    "read_whole_numbers",
]

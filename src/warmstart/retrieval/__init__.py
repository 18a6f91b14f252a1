"""Exact top-K by inner product over tables that are too large to store a score for every row."""

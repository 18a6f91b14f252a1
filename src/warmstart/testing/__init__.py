"""Toy data, tiny language models, and the contract checks that run on every method."""

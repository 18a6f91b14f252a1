"""Readers: from files or frames to a Dataset, in our own layout and in other people's."""

"""Recommending in a conversation: the pieces of ``rta``."""

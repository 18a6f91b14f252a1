"""The best rows of very large tables of vectors by inner product: users or items."""

"""Alembic migrations from each schema of the store to the next."""

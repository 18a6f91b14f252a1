"""How a store gets from one form to the next; read by Alembic."""

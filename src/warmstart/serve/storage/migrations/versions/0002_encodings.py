"""Rename the table "readings" to "encodings", the term in the code."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Rename "readings" to "encodings"."""
    op.rename_table("readings", "encodings")


def downgrade() -> None:
    """Rename "encodings" to "readings"."""
    op.rename_table("encodings", "readings")

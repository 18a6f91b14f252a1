"""What the language model computes for an item is called an encoding."""

from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Rename the table."""
    op.rename_table("readings", "encodings")


def downgrade() -> None:
    """Rename it back."""
    op.rename_table("encodings", "readings")

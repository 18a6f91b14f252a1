"""Event ids by owner, the scope "backend", leases, models that outlive a restart."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Rebuild "events"; a key that could write everything has the scope "backend" now."""
    op.create_table(
        "events_by_owner",
        sa.Column("number", _number, primary_key=True, autoincrement=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("event", sa.Text, nullable=False),
        sa.Column("user", sa.Text, nullable=False),
        sa.Column("item", sa.Text, nullable=False),
        sa.Column("happened", _time, nullable=False),
        sa.UniqueConstraint("owner", "event"),
        sqlite_autoincrement=True,
    )
    columns = 'owner, event, "user", item, happened'
    op.execute(
        f"INSERT INTO events_by_owner ({columns}) SELECT {columns} FROM events ORDER BY happened"
    )
    op.drop_table("events")
    op.rename_table("events_by_owner", "events")
    for column in ("user", "item"):
        op.create_index(f"ix_events_{column}", "events", [column])
    op.create_index("ix_items_written", "items", ["written"])
    op.execute("UPDATE keys SET scope = 'backend' WHERE scope = 'write'")
    op.create_table(
        "leases",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
    )
    op.create_table(
        "models",
        sa.Column("number", _number, primary_key=True, autoincrement=True),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("started_with", sa.Text, nullable=False),
        sa.Column("announced", _time, nullable=False),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """Refuse: an older version would let any key change the items of all others."""
    raise NotImplementedError("a store of owners cannot become one without")

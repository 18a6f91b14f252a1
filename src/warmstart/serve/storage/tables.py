"""The tables of the store; ``migrations/`` upgrades an older store to this schema.

::

    items      items as written, each with the key that wrote it
    encodings  output of each model's language model for the text of each item
    events     recorded interactions
    keys       API keys, hashed
    changes    one row per changed thing, in commit order; indexes follow this table
"""

import sqlalchemy as sa

metadata = sa.MetaData()

# SQLite auto-increments only Integer keys.
_number = sa.BigInteger().with_variant(sa.Integer, "sqlite")

items = sa.Table(
    "items",
    metadata,
    sa.Column("item", sa.Text, primary_key=True),
    sa.Column("columns", sa.JSON, nullable=False),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("deleted", sa.Boolean, nullable=False),
    sa.Column("error", sa.Text),
    sa.Column("written", sa.DateTime(timezone=True), nullable=False),
)

encodings = sa.Table(
    "encodings",
    metadata,
    sa.Column("item", sa.Text, primary_key=True),
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("arrays", sa.LargeBinary, nullable=False),
)

events = sa.Table(
    "events",
    metadata,
    sa.Column("event", sa.Text, primary_key=True),
    sa.Column("user", sa.Text, nullable=False, index=True),
    sa.Column("item", sa.Text, nullable=False, index=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("happened", sa.DateTime(timezone=True), nullable=False),
)

keys = sa.Table(
    "keys",
    metadata,
    sa.Column("key", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("revoked", sa.Boolean, nullable=False),
    sa.Column("made", sa.DateTime(timezone=True), nullable=False),
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("number", _number, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

"""The tables of the store; ``migrations/`` upgrades an older store to this schema.

::

    items      items as written, each with the key that wrote it first
    encodings  output of each model's language model for the text of each item
    events     recorded interactions; an event id is unique among those of its owner, a key
    keys       API keys, hashed
    leases     which replica runs the encoder, and until when
    models     models that were swapped in
    changes    one row per changed item, in commit order; indexes follow this table
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
    sa.Column("written", sa.DateTime(timezone=True), nullable=False, index=True),
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
    sa.Column("number", _number, primary_key=True, autoincrement=True),
    sa.Column("owner", sa.Text, nullable=False),
    sa.Column("event", sa.Text, nullable=False),
    sa.Column("user", sa.Text, nullable=False, index=True),
    sa.Column("item", sa.Text, nullable=False, index=True),
    sa.Column("happened", sa.DateTime(timezone=True), nullable=False),
    sa.UniqueConstraint("owner", "event"),
    sqlite_autoincrement=True,
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

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("holder", sa.Text, nullable=False),
    sa.Column("expires", sa.Double, nullable=False),  # unix seconds
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("number", _number, primary_key=True, autoincrement=True),
    sa.Column("folder", sa.Text, nullable=False),
    sa.Column("started_with", sa.Text, nullable=False),  # hash of the model of the command line
    sa.Column("announced", sa.DateTime(timezone=True), nullable=False),
    sqlite_autoincrement=True,
)

changes = sa.Table(
    "changes",
    metadata,
    sa.Column("number", _number, primary_key=True, autoincrement=True),
    sa.Column("kind", sa.Text, nullable=False),
    sa.Column("name", sa.Text, nullable=False),
    sqlite_autoincrement=True,
)

"""A backup shows the store at one moment; it restores into either kind of store, or not at all."""

import sqlite3
import tempfile
import uuid
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner

from warmstart.cli.app import app
from warmstart.errors import ConfigError, DataError
from warmstart.serve.storage import backup
from warmstart.serve.storage.backup import back_up, restore
from warmstart.serve.storage.database import StoreError
from warmstart.serve.storage.keys import KeyRing, make_key
from warmstart.serve.storage.records import Event, Item
from warmstart.serve.storage.store import Store
from warmstart.serve.storage.tables import items, metadata
from warmstart.testing import postgres

ODD = 'Ünïcode, "quotes", \ttabs, \n lines, 雪, a \\ and a \u2028'


def item(name, text="a text"):
    columns = {"title": text, "price": 1.5, "stock": 2**60, "none": None}
    return Item(name, columns, text, f"hash of {text}", "owner")


def fill(store):
    """Write rows of every kind; return the token of a key."""
    store.items.write([item("a"), item("b", ODD), item("gone")])
    store.encodings.save("model", [(item("a"), bytes(range(256))), (item("b", ODD), b"")])
    store.items.mark_failed(item("b", ODD), "too odd")
    store.items.delete("gone", "owner")
    store.events.record([Event("e1", "u1", "a", "owner"), Event("e2", "ü2", "warm", "owner")])
    store.models.announce("live", "hash")
    return make_key(store, "shop", "backend")


def rows_of(store):
    """Every row of every table; times in UTC."""
    with store.database.snapshot() as connection:
        found = {
            table.name: [
                backup._portable(row) for row in connection.execute(sa.select(table)).mappings()
            ]
            for table in metadata.sorted_tables
        }
    return {name: sorted(rows, key=repr) for name, rows in found.items()}


@pytest.fixture(scope="module")
def server():
    if postgres.binaries() is None:
        pytest.skip("PostgreSQL is not installed: no initdb found")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # if we are root, the server runs as another user
        with postgres.server(Path(folder) / "server") as running:
            yield running


@pytest.fixture
def new_url(request, tmp_path):
    """A function that returns the URL of a new store of a given kind."""

    def make(kind):
        name = f"store{uuid.uuid4().hex}"
        if kind == "sqlite":
            return f"sqlite:///{tmp_path / name}.db"
        url = request.getfixturevalue("server").url(name)
        return f"{url}?options=-c%20timezone%3DAsia/Kolkata"  # backups must not shift times

    return make


@pytest.fixture
def full(tmp_path):
    """URL of a SQLite store with rows of every kind."""
    url = f"sqlite:///{tmp_path / 'full.db'}"
    with closing(Store(url)) as store:
        fill(store)
    return url


@pytest.fixture
def made(full, tmp_path):
    """A backup of the store ``full``."""
    file = tmp_path / "made.backup"
    back_up(full, file)
    return file


KINDS = ["sqlite", "postgresql"]


@pytest.mark.parametrize("target", KINDS)
@pytest.mark.parametrize("source", KINDS)
def test_every_row_is_restored(source, target, new_url, tmp_path):
    file, url, other = tmp_path / "folder" / "all.backup", new_url(source), new_url(target)
    with closing(Store(url)) as store:
        token = fill(store)
        before = rows_of(store)
        last = store.changes.latest()
        seen = list(store.all_item_states("model"))
    counts = back_up(url, file)
    rows = {"events": 2, "items": 3, "keys": 1, "encodings": 2, "models": 1}
    assert counts == {"changes": last, **rows}
    assert list(file.parent.iterdir()) == [file]
    assert restore(file, other) == counts
    with closing(Store(other)) as store:
        assert rows_of(store) == before
        assert list(store.all_item_states("model")) == seen
        ring = KeyRing("10/second", anonymous_read=False)
        ring.load(store.keys.all())
        assert ring.identify(f"Bearer {token}", "").scope == "backend"
        assert store.items.write([item("a"), item("c")]) == ["unchanged", "created"]
        assert [change.number for change in store.changes.after(last)] == [last + 1]
        store.models.announce("next", "hash")
        assert store.models.latest().number == 2
        assert store.events.record([Event("e1", "u1", "a", "owner")]).new == 0
        assert store.events.record([Event("e3", "u1", "a", "owner")]).new == 1


@pytest.mark.parametrize("kind", KINDS)
def test_times_are_the_same_moments(kind, new_url, tmp_path):
    url, other, file = new_url("sqlite"), new_url(kind), tmp_path / "times.backup"
    began = datetime.now(UTC)
    with closing(Store(url)) as store:
        store.items.write([item("a")])
    back_up(url, file)
    restore(file, other)
    with closing(Store(other)) as store, store.database.snapshot() as connection:
        written = backup._utc(connection.execute(sa.select(items.c.written)).scalar_one())
    assert began <= written <= datetime.now(UTC)


@pytest.mark.parametrize("kind", KINDS)
def test_later_writes_are_not_in_the_backup(kind, new_url, tmp_path, monkeypatch):
    url, other, file = new_url(kind), new_url("sqlite"), tmp_path / "busy.backup"
    copied, portable = [], backup._portable
    with closing(Store(url)) as store:
        store.items.write([item(f"old{number}") for number in range(20)])

        def write_between(row):
            copied.append(row)
            name = f"new{len(copied)}"
            store.items.write([item(name), item("old3", name)])
            store.events.record([Event(name, "u1", name, "owner")])
            return portable(row)

        monkeypatch.setattr(backup, "_portable", write_between)
        monkeypatch.setattr(backup, "_PAGE", 5)
        counts = back_up(url, file)
        monkeypatch.undo()
        assert store.changes.latest() == 20 + 2 * len(copied)
    assert counts == {
        "changes": 20,
        "events": 0,
        "items": 20,
        "keys": 0,
        "encodings": 0,
        "models": 0,
    }
    restore(file, other)
    with closing(Store(other)) as store:
        assert {change.name for change in store.changes.after(0)} == {f"old{n}" for n in range(20)}
        assert store.items.get("old3") == item("old3")


@pytest.mark.parametrize("kind", KINDS)
def test_a_store_that_is_not_empty_is_refused_and_left_unchanged(kind, new_url, made):
    url = new_url(kind)
    with closing(Store(url)) as store:
        store.items.write([item("mine")])
        with pytest.raises(DataError, match=r"not empty \(it has 1 changes, 1 items\).*a new one"):
            restore(made, url)
        assert [found.item for found in store.items.newest(10)] == ["mine"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_restore_leaves_the_store_empty(kind, new_url, made, monkeypatch):
    url, portable = new_url(kind), backup._portable

    def fails(row):
        if "secret" in row:
            raise KeyboardInterrupt
        return portable(row)

    monkeypatch.setattr(backup, "_portable", fails)
    with pytest.raises(KeyboardInterrupt):
        restore(made, url)
    monkeypatch.undo()
    with closing(Store(url)) as store:
        assert not any(rows_of(store).values())
    assert restore(made, url)["keys"] == 1


def test_a_failed_backup_leaves_no_file(full, tmp_path, monkeypatch):
    def fails(path):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup, "_seal", fails)
    file = tmp_path / "folder" / "no.backup"
    with pytest.raises(DataError, match=r"no\.backup cannot be written: .*No space left"):
        back_up(full, file)
    assert list(file.parent.iterdir()) == []


def test_an_existing_file_is_not_overwritten(full, made):
    before = made.read_bytes()
    with pytest.raises(DataError, match=r"made\.backup already exists"):
        back_up(full, made)
    assert made.read_bytes() == before


def test_a_missing_store_is_not_created(tmp_path):
    with pytest.raises(DataError, match=r"no store '.*none\.db'"):
        back_up(f"sqlite:///{tmp_path / 'none.db'}", tmp_path / "no.backup")
    assert list(tmp_path.iterdir()) == []


def test_another_kind_of_database_is_refused(made, tmp_path):
    for call in (
        lambda: back_up("mysql://x/y", tmp_path / "b"),
        lambda: restore(made, "mysql://x"),
    ):
        with pytest.raises(ConfigError, match=r"postgresql://\.\.\., got mysql"):
            call()


def test_an_unreachable_server_is_a_store_error(made):
    with pytest.raises(StoreError, match="the store cannot be written"):
        restore(made, "postgresql://nobody@127.0.0.1:1/none")


def test_a_file_that_is_not_a_backup_is_refused(full, tmp_path):
    url, text, empty = f"sqlite:///{tmp_path / 'new.db'}", tmp_path / "text", tmp_path / "empty"
    text.write_text("not a database at all" * 100)
    empty.touch()
    for file, why in [
        (text, "file is not a database"),
        (empty, "not a backup made by warmstart"),
        (tmp_path / "full.db", "not a backup made by warmstart"),
        (tmp_path / "nowhere", "is not an existing file"),
        (tmp_path, "is not an existing file"),
    ]:
        with pytest.raises(DataError, match=f"{file.name} .*{why}"):
            restore(file, url)
    assert not (tmp_path / "new.db").exists()


def test_any_damage_is_detected(made, tmp_path):
    whole, url = made.read_bytes(), f"sqlite:///{tmp_path / 'new.db'}"
    text = whole.index(b"a text")
    arrays = whole.index(bytes(range(100)))
    for damaged in (
        whole[:-4096],
        whole[: len(whole) // 2],
        whole[:text] + b"A" + whole[text + 1 :],
        whole[:text] + b"\xff" + whole[text + 1 :],
        whole[: arrays + 50] + b"\0" + whole[arrays + 51 :],
    ):
        made.write_bytes(damaged)
        with pytest.raises(DataError, match=r"made\.backup cannot be restored: .*"):
            restore(made, url)
    assert not (tmp_path / "new.db").exists()


def test_a_backup_that_was_changed_is_refused(made, tmp_path):
    with closing(sqlite3.connect(made)) as connection:
        connection.execute("UPDATE keys SET scope = 'admin'")
        connection.commit()
    with pytest.raises(DataError, match=r"changed after it was made: table \['keys'\]"):
        restore(made, f"sqlite:///{tmp_path / 'new.db'}")


def test_a_backup_of_a_newer_warmstart_is_refused(full, tmp_path):
    with closing(sqlite3.connect(tmp_path / "full.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    file = tmp_path / "newer.backup"
    with pytest.raises(ConfigError, match=r"newer warmstart \(.*9999"):
        back_up(full, file)
    (tmp_path / "full.db").rename(file)
    backup._seal(file)
    with pytest.raises(DataError, match=r"newer\.backup cannot be restored: .*newer warmstart"):
        restore(file, f"sqlite:///{tmp_path / 'new.db'}")


def test_file_names_may_contain_special_characters_of_urls(full, tmp_path):
    file = tmp_path / "50% of #1?" / "what?.backup"
    assert back_up(full, file) == restore(file, f"sqlite:///{tmp_path / 'new.db'}")


def test_a_restore_leaves_the_backup_unchanged(made, tmp_path):
    before = made.read_bytes()
    restore(made, f"sqlite:///{tmp_path / 'new.db'}")
    assert made.read_bytes() == before
    assert not list(tmp_path.glob("made.backup?*"))


def test_the_commands_back_up_and_restore(full, tmp_path, monkeypatch):
    file, new = tmp_path / "shop.backup", f"sqlite:///{tmp_path / 'new.db'}"
    done = CliRunner().invoke(app, ["backup", str(file), "--store", full])
    assert done.exit_code == 0
    assert str(file) in done.stdout.replace("\n", "")
    monkeypatch.setenv("WARMSTART_STORE", new)
    done = CliRunner().invoke(app, ["restore", str(file)])
    assert done.exit_code == 0
    assert "keys" in done.stdout
    again = CliRunner().invoke(app, ["restore", str(file)])
    assert isinstance(again.exception, DataError)
    with closing(Store(full)) as one, closing(Store(new)) as other:
        assert rows_of(one) == rows_of(other)

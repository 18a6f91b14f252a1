"""The store, on SQLite and on PostgreSQL."""

import os
import tempfile
import threading
import time
from contextlib import closing
from itertools import count, pairwise
from pathlib import Path

import pytest
import sqlalchemy as sa

from warmstart.errors import ConfigError
from warmstart.serve.storage import database, leadership
from warmstart.serve.storage import store as store_module
from warmstart.serve.storage.changes import ChangesLostError
from warmstart.serve.storage.database import StoreError
from warmstart.serve.storage.event_store import EventConflictError
from warmstart.serve.storage.item_store import NotAllowedError
from warmstart.serve.storage.model_store import AnnouncedModel
from warmstart.serve.storage.records import Event, Item, Key
from warmstart.serve.storage.store import Store
from warmstart.serve.storage.tables import metadata
from warmstart.testing.postgres import binaries, server

MODEL = "model-a"
NUMBERS = count()


@pytest.fixture(scope="session")
def postgres():
    """A server for all tests of this file; each test gets its own database."""
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed: no initdb found")
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)  # the server does not run as root
        with server(Path(folder) / "server") as found:
            yield found


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request, tmp_path):
    """URL of an empty store."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    return request.getfixturevalue("postgres").url(f"test_{next(NUMBERS)}")


@pytest.fixture
def store(url):
    with closing(Store(url)) as opened:
        yield opened


def item(name, text="a text", *, owner="shop", deleted=False):
    return Item(name, {"title": text}, text, f"hash of {text}", owner, deleted=deleted)


def engine_of(url):
    """Open the database directly, to damage the store."""
    return sa.create_engine(url.replace("postgresql:", "postgresql+psycopg:"))


# -- items --


def test_writing_items_is_idempotent(store):
    assert store.items.write([item("a"), item("b")]) == ["created", "created"]
    last = store.changes.latest()
    assert store.items.write([item("a"), item("b")]) == ["unchanged", "unchanged"]
    assert store.changes.latest() == last  # an unchanged item is no change
    assert store.items.write([item("a", "another"), item("b")]) == ["updated", "unchanged"]
    assert [change.name for change in store.changes.after(last)] == ["a"]
    assert store.items.get("a") == item("a", "another")
    assert store.items.get("c") is None


def test_a_deleted_item_is_created_again(store):
    store.items.write([item("a")])
    store.items.delete("a", "shop")
    assert store.items.get("a") == Item("a", {}, "", "", "shop", deleted=True)
    assert store.encodings.missing(MODEL) == []
    assert store.items.delete("a", "shop")  # deleting twice is allowed
    assert store.items.write([item("a")]) == ["created"]
    assert store.items.get("a") == item("a")


def test_an_item_that_was_never_written_can_be_deleted(store):
    assert not store.items.delete("trained", "shop")
    assert store.items.get("trained").deleted
    assert store.encodings.missing(MODEL) == []


def test_the_last_of_several_versions_in_one_request_is_stored(store):
    assert store.items.write([item("a", "x"), item("a", "x")]) == ["created", "unchanged"]
    assert store.items.write([item("a", "y"), item("a", "z")]) == ["updated", "updated"]
    assert store.items.get("a").text == "z"
    assert store.items.write([item("a", "y"), item("a", "z")]) == ["updated", "updated"]
    assert store.items.get("a").text == "z"


def test_a_failed_item_is_encoded_again_when_it_is_written_again(store):
    store.items.write([item("a")])
    store.items.mark_failed(item("a"), "cannot be encoded")
    assert store.items.get("a").error == "cannot be encoded"
    assert store.encodings.missing(MODEL) == []
    assert store.items.write([item("a")]) == ["created"]
    assert store.items.get("a").error is None
    assert len(store.encodings.missing(MODEL)) == 1
    store.items.mark_failed(item("a", "an older text"), "too late")
    assert store.items.get("a").error is None


def test_a_write_is_done_completely_or_not_at_all(store, url):
    store.items.write([item("a")])
    last = store.changes.latest()
    broken = Item("c", {}, None, "hash", "shop")  # pyright: ignore[reportArgumentType]
    with pytest.raises(StoreError, match="cannot be written"):
        store.items.write([item("a", "new"), item("b"), broken])
    assert store.items.get("a") == item("a")
    assert (store.items.get("b"), store.items.get("c")) == (None, None)
    assert store.changes.latest() == last
    happened = [Event("e-1", "u", "a", "shop"), Event("e-2", None, "a", "shop")]  # pyright: ignore[reportArgumentType]
    with pytest.raises(StoreError, match="cannot be written"):
        store.events.record(happened)
    assert store.events.last_items("u", 9) == []
    assert store.changes.latest() == last
    assert store.items.write([item("b")]) == ["created"]  # the store still works


def test_an_error_does_not_quote_what_was_written(store):
    broken = Item("c", {"title": "confidential"}, None, "hash", "shop")  # pyright: ignore[reportArgumentType]
    with pytest.raises(StoreError) as caught:
        store.items.write([broken])
    assert "confidential" not in str(caught.value)
    assert "parameters hidden" in str(caught.value.__cause__)  # this error is logged too


def test_newest_returns_the_newest_items_first(store):
    for name in "abc":
        store.items.write([item(name)])
    assert [found.item for found in store.items.newest(2)] == ["c", "b"]
    assert [found.item for found in store.items.newest(2, 2)] == ["a"]


@pytest.mark.parametrize("text", ["ü ß ẞ", "\U0001f600", "\u202e rtl", "'; DROP TABLE items; --"])
def test_every_text_is_stored(store, text):
    written = Item(text, {text: text, "n": 2**62, "x": 0.1, "none": None}, text, text, text)
    store.items.write([written])
    assert store.items.get(text) == written
    store.events.record([Event(text, text, text, text)])
    assert store.events.last_items(text, 9) == [text]


# -- encodings --


def test_items_without_an_encoding_of_their_current_text_are_waiting(store):
    store.items.write([item("a"), item("b")])
    assert store.encodings.missing(MODEL) == ["a", "b"]
    assert store.encodings.missing_among(MODEL, ["b", "c"]) == [item("b")]
    assert store.item_states(MODEL, ["a"])["a"].is_waiting
    store.encodings.save(MODEL, [(item("a"), b"of a")])
    assert len(store.encodings.missing(MODEL)) == 1
    assert len(store.encodings.missing("another model")) == 2
    assert store.item_states(MODEL, ["a"])["a"].encoding == b"of a"
    assert not store.item_states(MODEL, ["a"])["a"].is_waiting
    assert store.item_states("another model", ["a"])["a"].encoding is None


def test_an_encoding_of_an_older_text_does_not_count(store):
    store.items.write([item("a", "old")])
    (taken,) = store.encodings.missing_among(MODEL, ["a"])
    store.items.write([item("a", "new")])  # while the old text is being encoded
    store.encodings.save(MODEL, [(taken, b"of old")])
    assert store.item_states(MODEL, ["a"])["a"].encoding is None
    assert len(store.encodings.missing(MODEL)) == 1
    store.encodings.save(MODEL, [(item("a", "new"), b"of new")])
    assert store.item_states(MODEL, ["a"])["a"].encoding == b"of new"
    store.items.write([item("a", "old")])  # the encoding of "new" is invalid again
    assert store.item_states(MODEL, ["a"])["a"].encoding is None


def test_an_item_deleted_while_it_is_encoded_stays_deleted(store):
    store.items.write([item("a")])
    (taken,) = store.encodings.missing_among(MODEL, ["a"])
    store.items.delete(taken.item, "shop")
    store.encodings.save(MODEL, [(taken, b"of a")])
    assert store.item_states(MODEL, ["a"])["a"].item.deleted


# -- events --


def test_an_event_sent_twice_counts_once(store):
    happened = [Event(f"e-{n}", f"u-{n % 2}", "a", "shop") for n in range(3)]
    assert store.events.record(happened).new == 3
    last = store.events.latest()
    assert store.events.record(happened).new == 0
    assert store.events.latest() == last
    assert store.events.record([*happened, Event("e-9", "u-9", "b", "shop")] * 2).new == 1
    assert {click.user for click in store.events.after(0, 9) if click.item == "a"} == {"u-0", "u-1"}
    assert store.events.last_items("u-9", 9) == ["b"]
    assert store.events.last_items("nobody", 9) == []


def test_more_names_than_one_query_may_have(store):
    many = [f"i-{n}" for n in range(1200)]
    assert set(store.items.write([item(name) for name in many])) == {"created"}
    assert set(store.items.write([item(name) for name in many])) == {"unchanged"}
    assert store.events.record([Event(name, "u", name, "shop") for name in many]).new == 1200
    found = store.item_states(MODEL, many)
    assert list(found) == many
    assert all(one.item is not None for one in found.values())
    assert [click.item for click in store.events.after(0, 2000)] == many
    assert [click.item for click in store.events.after(1195, 3)] == many[1195:1198]


# -- changes --


def test_a_follower_misses_no_change_of_concurrent_writers(url, store):
    """Two stores, as in two processes, with four threads each."""
    n_threads, n_writes = 8, 12
    with closing(Store(url)) as other:
        seen, done = [], threading.Event()

        def follow():
            at = 0
            while True:
                finished = done.is_set()
                found = store.changes.after(at, limit=5)
                seen.extend(found)
                at = seen[-1].number if seen else 0
                if finished and not found:
                    return

        failures = []

        def write(thread):
            through = (store, other)[thread % 2]
            try:
                for n in range(n_writes):
                    through.items.write([item(f"{thread}-{n}"), item("shared", f"{thread}-{n}")])
            except StoreError as error:
                failures.append(error)

        follower = threading.Thread(target=follow)
        writers = [threading.Thread(target=write, args=[n]) for n in range(n_threads)]
        for thread in (follower, *writers):
            thread.start()
        for thread in writers:
            thread.join()
        done.set()
        follower.join()
    assert not failures
    assert all(one.number < two.number for one, two in pairwise(seen))
    names = [change.name for change in seen]
    assert names.count("shared") == n_threads * n_writes
    assert {name for name in names if name != "shared"} == {
        f"{thread}-{n}" for thread in range(n_threads) for n in range(n_writes)
    }


def test_lost_changes_are_an_error(store):
    for n in range(10):
        store.items.write([item(f"i-{n}")])
    first = store.changes.after(0)[0].number
    store.changes.trim(kept=4)
    assert len(store.changes.after(store.changes.latest() - 4)) == 4
    with pytest.raises(ChangesLostError, match="no longer stored"):
        store.changes.after(first)
    with pytest.raises(ChangesLostError, match="was already seen"):  # the store is an older copy
        store.changes.after(store.changes.latest() + 1)
    assert store.changes.after(store.changes.latest()) == []


def test_all_item_states_come_page_by_page(store, monkeypatch):
    monkeypatch.setattr(store_module, "PAGE", 3)
    names = [f"i-{n}" for n in range(8)]
    store.items.write([item(name) for name in names])
    store.encodings.save(MODEL, [(item("i-3"), b"of 3")])
    pages = list(store.all_item_states(MODEL))
    assert max(len(page) for page in pages) == 3
    found = {name: one for page in pages for name, one in page.items()}
    assert sum(len(page) for page in pages) == len(found)
    assert found == store.item_states(MODEL, names)
    assert found["i-3"].encoding == b"of 3"


# -- keys --


def test_keys_are_stored_and_revoked(store):
    made = [Key("k-1", "shop", "backend", "hash"), Key("k-2", "shop", "read", "hash")]
    for key in made:
        store.keys.add(key)
    assert store.keys.all() == made
    with pytest.raises(StoreError):
        store.keys.add(made[0])
    last = store.changes.latest()
    assert store.keys.revoke("k-1")
    assert not store.keys.revoke("k-9")
    assert store.keys.version() == (2, 1)
    assert store.changes.latest() == last  # keys are followed apart from items
    found = store.keys.all()
    assert [key.revoked for key in found] == [True, False]


# -- processes --


def test_only_one_process_leads_until_it_ends(url, store):
    with closing(Store(url)) as other:
        assert store.leadership.acquire()
        assert not other.leadership.acquire()
        assert store.leadership.acquire()
        store.close()
        assert other.leadership.acquire()  # at once: the lease was given up


def test_a_leader_that_does_not_renew_its_lease_loses_it(url, store, monkeypatch):
    monkeypatch.setattr(leadership, "LEASE_SECONDS", 0.5)
    monkeypatch.setattr(leadership, "_RENEW_SECONDS", 0.1)
    assert store.leadership.acquire()
    with closing(Store(url)) as other:
        started = time.monotonic()
        while not other.leadership.acquire():
            assert time.monotonic() - started < 10
            time.sleep(0.02)
        assert time.monotonic() - started > 0.3
        assert not store.leadership.acquire()  # it was frozen, and wakes up
        other.close()
        assert store.leadership.acquire()


def test_a_clock_that_was_set_back_blocks_no_leader(url, store, monkeypatch):
    assert store.leadership.acquire()
    engine = engine_of(url)
    with engine.begin() as connection:  # as if a day had been taken back since
        connection.execute(sa.text("UPDATE leases SET expires = expires + 86400"))
    engine.dispose()
    with closing(Store(url)) as other:
        assert other.leadership.acquire()


def test_a_lease_that_is_renewed_is_kept(url, store, monkeypatch):
    monkeypatch.setattr(leadership, "LEASE_SECONDS", 1.0)
    monkeypatch.setattr(leadership, "_RENEW_SECONDS", 0.1)
    with closing(Store(url)) as other:
        for _ in range(30):
            assert store.leadership.acquire()
            assert not other.leadership.acquire()
            time.sleep(0.05)


# -- nothing waits for ever --


def test_a_writer_that_never_ends_stops_no_other_for_long(url, store, monkeypatch):
    """Another session holds the lock of the writers, as a process that hangs would."""
    engine = engine_of(url)
    with engine.connect() as stuck:
        if store.is_postgres:
            stuck.execute(sa.select(sa.func.pg_advisory_xact_lock(database._WRITER_LOCK_ID)))
        else:
            stuck.exec_driver_sql("BEGIN IMMEDIATE")
        started = time.monotonic()
        with pytest.raises(StoreError, match=r"lock"):
            store.items.write([item("a")])
        assert time.monotonic() - started < 2 * database.LOCK_SECONDS
        assert store.items.get("a") is None  # readers go on
        stuck.rollback()
    engine.dispose()
    assert store.items.write([item("a")]) == ["created"]


def test_a_server_that_does_not_answer_is_given_up(monkeypatch):
    if binaries() is None:
        pytest.skip("PostgreSQL is not installed: no initdb found")
    monkeypatch.setattr(database, "_ANSWER_SECONDS", 1.0)
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        with (
            server(Path(folder) / "server") as frozen,
            closing(Store(frozen.url("frozen"))) as store,
        ):
            store.items.write([item("a")])
            frozen.freeze()
            try:
                for attempt in (store.changes.latest, lambda: store.items.write([item("b")])):
                    started = time.monotonic()
                    with pytest.raises(StoreError):
                        attempt()
                    assert time.monotonic() - started < 10
            finally:
                frozen.thaw()
            assert store.items.write([item("b")]) == ["created"]


def test_the_file_of_a_store_is_for_its_owner_only(url, store, tmp_path):
    if store.is_postgres:
        pytest.skip("a server has its own permissions")
    store.items.write([item("a")])
    assert {path.stat().st_mode & 0o777 for path in tmp_path.glob("store.db*")} == {0o600}


# -- owners --


def test_an_owner_changes_its_own_items_only(store):
    store.items.write([item("a", owner="shop-a")])
    for change in (
        lambda: store.items.write(
            [item("b", owner="b"), item("a", "mine", owner="b")], own_only=True
        ),
        lambda: store.items.delete("a", "b", own_only=True),
    ):
        with pytest.raises(NotAllowedError, match=r"'a' belongs to another key"):
            change()
    assert store.items.get("a") == item("a", owner="shop-a")
    assert store.items.get("b") is None
    assert store.items.write([item("a", "new", owner="shop-a")], own_only=True) == ["updated"]
    store.items.delete("a", "shop-a", own_only=True)
    with pytest.raises(NotAllowedError):  # nobody takes the place of a deleted item
        store.items.write([item("a", owner="b")], own_only=True)
    assert store.items.write([item("a", owner="a backend")]) == ["created"]
    assert store.items.get("a").owner == "shop-a"


def test_reserved_items_may_be_changed_once_they_were_written(store):
    for change in (
        lambda: store.items.write([item("a")], reserved=["a"]),
        lambda: store.items.delete("a", "shop", reserved=["a"]),
    ):
        with pytest.raises(NotAllowedError, match=r"'a' is in the training data"):
            change()
    store.items.write([item("a")])
    assert store.items.write([item("a", "new")], reserved=["a"]) == ["updated"]


def test_a_deleted_text_is_nowhere_in_the_store(store, url):
    store.items.write([item("a", "confidential")])
    store.encodings.save(MODEL, [(item("a", "confidential"), b"confidential")])
    store.items.delete("a", "shop")
    engine = engine_of(url)
    with engine.connect() as connection:
        for table in ("items", "encodings", "changes"):
            rows = connection.exec_driver_sql(f"SELECT * FROM {table}").all()
            assert "confidential" not in repr(rows)
    engine.dispose()


def test_event_ids_belong_to_their_key(store):
    assert store.events.record([Event("order-1", "u", "a", "shop-a")]).new == 1
    assert store.events.record([Event("order-1", "v", "b", "shop-b")]).new == 1
    with pytest.raises(EventConflictError, match="order-1") as caught:
        store.events.record(
            [Event("order-2", "u", "a", "shop-a"), Event("order-1", "u", "b", "shop-a")]
        )
    assert caught.value.position == 1
    assert store.events.last_items("u", 9) == ["a"]
    found = store.events.record(
        [Event("order-2", "w", "c", "shop-a"), Event("order-1", "u", "b", "shop-a")],
        skip_conflicts=True,
    )
    assert (found.new, found.conflicts) == (1, [1])
    assert store.events.last_items("w", 9) == ["c"]


def test_the_interactions_of_a_user_are_erased(store):
    store.events.record([Event(f"e-{n}", f"u-{n % 2}", f"i-{n}", "s") for n in range(6)])
    last = store.changes.latest()
    assert store.events.erase("u-0") == 3
    assert store.events.last_items("u-0", 9) == []
    assert len(store.events.last_items("u-1", 9)) == 3
    assert [(one.kind, one.name) for one in store.changes.after(last)] == [("erased", "6:u-0")]
    assert store.events.erase("u-0") == 0


def test_encodings_of_other_models_are_pruned(store):
    store.items.write([item("a")])
    for model in ("old", MODEL):
        store.encodings.save(model, [(item("a"), b"of a")])
    assert store.encodings.prune([MODEL]) == 1
    store.database.vacuum()
    assert store.item_states(MODEL, ["a"])["a"].encoding == b"of a"
    assert store.item_states("old", ["a"])["a"].encoding is None


def test_the_last_announced_model_is_known(store):
    assert store.models.latest() is None
    store.models.announce("january", "hash")
    store.models.announce("february", "hash")
    assert store.models.latest() == AnnouncedModel(2, "february", "hash")


def test_a_store_of_the_last_version_is_upgraded(url):
    Store(url).close()
    engine = engine_of(url)
    with engine.begin() as connection:
        for statement in _DOWN_TO_0002.split(";"):
            connection.exec_driver_sql(statement)
    engine.dispose()
    with closing(Store(url)) as store:
        assert [key.scope for key in store.keys.all()] == ["backend", "read"]
        assert store.events.last_items("u", 9) == ["a", "b"]
        assert store.events.record([Event("e-1", "u", "a", "k-1")]).new == 0
        assert store.events.record([Event("e-1", "v", "c", "k-2")]).new == 1


_DOWN_TO_0002 = """DROP TABLE events;
DROP TABLE leases;
DROP TABLE models;
DROP INDEX ix_items_written;
CREATE TABLE events (event TEXT PRIMARY KEY, "user" TEXT NOT NULL, item TEXT NOT NULL,
    owner TEXT NOT NULL, happened TIMESTAMP NOT NULL);
CREATE INDEX ix_events_user ON events ("user");
CREATE INDEX ix_events_item ON events (item);
INSERT INTO events VALUES ('e-2', 'u', 'b', 'k-1', '2026-01-02 00:00:00.000000');
INSERT INTO events VALUES ('e-1', 'u', 'a', 'k-1', '2026-01-01 00:00:00.000000');
INSERT INTO keys VALUES ('k-1', 'shop', 'write', 'x', false, '2026-01-01 00:00:00.000000');
INSERT INTO keys VALUES ('k-2', 'page', 'read', 'y', false, '2026-01-02 00:00:00.000000');
UPDATE alembic_version SET version_num = '0002'"""


def test_wait_returns_at_once_if_a_write_preceded_it(store):
    store.changes.wait(0.0)  # with PostgreSQL, starts to listen
    store.changes.wait(0.1)
    store.items.write([item("a")])
    started = time.monotonic()
    store.changes.wait(20.0)
    assert time.monotonic() - started < 10


def test_wait_ends_when_another_process_writes(store, url):
    store.changes.wait(0.0)
    with closing(Store(url)) as other:
        store.changes.wait(0.1)
        woken = []
        started = time.monotonic()
        thread = threading.Thread(
            target=lambda: woken.append((store.changes.wait(20.0), time.monotonic()))
        )
        thread.start()
        other.items.write([item("a")])
        wrote = time.monotonic()
        thread.join()
    assert woken[0][1] - max(started, wrote) < 1.0


def test_wait_returns_after_the_timeout(store):
    store.changes.wait(0.0)
    store.changes.wait(0.05)


# -- older, newer, missing and damaged stores --


def tables(url):
    engine = engine_of(url)
    found = {
        table: {column["name"] for column in sa.inspect(engine).get_columns(table)}
        for table in sa.inspect(engine).get_table_names()
    }
    engine.dispose()
    return found


def test_migrations_create_the_tables_of_the_code(url, store):
    found = tables(url)
    assert found.pop("alembic_version")
    assert found == {
        table.name: {column.name for column in table.columns} for table in metadata.sorted_tables
    }


def test_a_store_without_tables_gets_the_current_schema(url):
    """The oldest schema is an empty database."""
    with closing(Store(url)) as store:
        store.items.write([item("a")])
    with closing(Store(url)) as again:  # the current schema is left unchanged
        assert again.items.get("a") == item("a")
    engine = engine_of(url)
    with engine.begin() as connection:
        for table in tables(url):
            connection.execute(sa.text(f"DROP TABLE {table}"))
    engine.dispose()
    with closing(Store(url)) as fresh:
        assert fresh.items.write([item("a")]) == ["created"]


def test_a_newer_store_is_refused(url):
    Store(url).close()
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(ConfigError, match=r"newer warmstart.*9999.*use that version"):
        Store(url)
    assert tables(url)  # nothing was changed


def test_processes_that_start_at_once_create_one_store(url):
    opened, failures = [], []

    def start():
        try:
            opened.append(Store(url))
        except StoreError as error:
            failures.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in opened:
        store.close()
    assert (len(opened), failures) == (4, [])


def error_of(url):
    with pytest.raises(StoreError) as caught:
        Store(url)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_missing_folder_is_a_clear_error(tmp_path):
    message = error_of(f"sqlite:///{tmp_path / 'nowhere' / 'store.db'}")
    assert "nowhere" in message
    assert "folder must exist" in message


def test_a_file_that_is_not_a_store_is_a_clear_error(tmp_path):
    (tmp_path / "store.db").write_text("this is no database, " * 99)
    assert "not a database" in error_of(f"sqlite:///{tmp_path / 'store.db'}")
    assert "unable to open" in error_of(f"sqlite:///{tmp_path}")


def test_a_read_only_store_is_a_clear_error(tmp_path):
    path = tmp_path / "store.db"
    read_only = f"sqlite:///file:{path}?mode=ro&uri=true"
    assert "unable to open" in error_of(read_only)
    with closing(Store(f"sqlite:///{path}")) as store:
        store.items.write([item("a")])
    with closing(Store(read_only)) as store:
        assert store.items.get("a") == item("a")
        with pytest.raises(StoreError, match=r"cannot be written: .*readonly"):
            store.items.write([item("b")])


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_a_read_only_folder_is_a_clear_error(tmp_path):
    tmp_path.chmod(0o555)
    assert "read-only" in error_of(f"sqlite:///{tmp_path / 'store.db'}")


def test_a_missing_server_is_a_clear_error_without_the_password():
    message = error_of("postgresql://someone:hunter2@127.0.0.1:1/shop")
    assert "127.0.0.1" in message
    assert "hunter2" not in message


@pytest.mark.parametrize("url", ["mysql://x/y", "nothing", "", "sqlite"])
def test_another_kind_of_database_is_refused(url):
    with pytest.raises(ConfigError):
        Store(url)

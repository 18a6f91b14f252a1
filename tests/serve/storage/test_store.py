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
from warmstart.serve.storage import store as store_module
from warmstart.serve.storage.store import ChangesLostError, Event, Item, Key, Store, StoreError
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
    assert store.write_items([item("a"), item("b")]) == ["created", "created"]
    last = store.latest()
    assert store.write_items([item("a"), item("b")]) == ["unchanged", "unchanged"]
    assert store.latest() == last  # an unchanged item is no change
    assert store.write_items([item("a", "another"), item("b")]) == ["updated", "unchanged"]
    assert [change.name for change in store.changes(last)] == ["a"]
    assert store.item("a") == item("a", "another")
    assert store.item("c") is None


def test_a_deleted_item_is_created_again(store):
    store.write_items([item("a")])
    store.delete_item(item("a"))
    assert store.item("a").deleted
    assert store.unencoded(MODEL) == []
    store.delete_item(item("a"))  # deleting twice is allowed
    assert store.write_items([item("a")]) == ["created"]
    assert store.item("a") == item("a")


def test_an_item_that_was_never_written_can_be_deleted(store):
    store.delete_item(Item("trained", {}, "", "", "shop"))
    assert store.item("trained").deleted
    assert store.unencoded(MODEL) == []


def test_the_last_of_several_versions_in_one_request_is_stored(store):
    assert store.write_items([item("a", "x"), item("a", "x")]) == ["created", "unchanged"]
    assert store.write_items([item("a", "y"), item("a", "z")]) == ["updated", "updated"]
    assert store.item("a").text == "z"
    assert store.write_items([item("a", "y"), item("a", "z")]) == ["updated", "updated"]
    assert store.item("a").text == "z"


def test_a_failed_item_is_encoded_again_when_it_is_written_again(store):
    store.write_items([item("a")])
    store.mark_failed(item("a"), "cannot be encoded")
    assert store.item("a").error == "cannot be encoded"
    assert store.unencoded(MODEL) == []
    assert store.write_items([item("a")]) == ["created"]
    assert store.item("a").error is None
    assert len(store.unencoded(MODEL)) == 1
    store.mark_failed(item("a", "an older text"), "too late")
    assert store.item("a").error is None


def test_a_write_is_done_completely_or_not_at_all(store, url):
    store.write_items([item("a")])
    last = store.latest()
    broken = Item("c", {}, None, "hash", "shop")  # pyright: ignore[reportArgumentType]
    with pytest.raises(StoreError, match="cannot be written"):
        store.write_items([item("a", "new"), item("b"), broken])
    assert store.item("a") == item("a")
    assert (store.item("b"), store.item("c")) == (None, None)
    assert store.latest() == last
    happened = [Event("e-1", "u", "a", "shop"), Event("e-2", None, "a", "shop")]  # pyright: ignore[reportArgumentType]
    with pytest.raises(StoreError, match="cannot be written"):
        store.record_events(happened)
    assert store.history("u") == []
    assert store.latest() == last
    assert store.write_items([item("b")]) == ["created"]  # the store still works


def test_an_error_does_not_quote_what_was_written(store):
    broken = Item("c", {"title": "confidential"}, None, "hash", "shop")  # pyright: ignore[reportArgumentType]
    with pytest.raises(StoreError) as caught:
        store.write_items([broken])
    assert "confidential" not in str(caught.value)
    assert "parameters hidden" in str(caught.value.__cause__)  # this error is logged too


def test_newest_returns_the_newest_items_first(store):
    for name in "abc":
        store.write_items([item(name)])
    assert [found.item for found in store.newest(2)] == ["c", "b"]
    assert [found.item for found in store.newest(2, 2)] == ["a"]


@pytest.mark.parametrize("text", ["ü ß ẞ", "\U0001f600", "\u202e rtl", "'; DROP TABLE items; --"])
def test_every_text_is_stored(store, text):
    written = Item(text, {text: text, "n": 2**62, "x": 0.1, "none": None}, text, text, text)
    store.write_items([written])
    assert store.item(text) == written
    store.record_events([Event(text, text, text, text)])
    assert store.history(text) == [text]


# -- encodings --


def test_items_without_an_encoding_of_their_current_text_are_waiting(store):
    store.write_items([item("a"), item("b")])
    assert store.unencoded(MODEL) == ["a", "b"]
    assert store.unencoded_among(MODEL, ["b", "c"]) == [item("b")]
    assert store.item_states(MODEL, ["a"])["a"].is_waiting
    store.save_encodings(MODEL, [(item("a"), b"of a")])
    assert len(store.unencoded(MODEL)) == 1
    assert len(store.unencoded("another model")) == 2
    assert store.item_states(MODEL, ["a"])["a"].encoding == b"of a"
    assert not store.item_states(MODEL, ["a"])["a"].is_waiting
    assert store.item_states("another model", ["a"])["a"].encoding is None


def test_an_encoding_of_an_older_text_does_not_count(store):
    store.write_items([item("a", "old")])
    (taken,) = store.unencoded_among(MODEL, ["a"])
    store.write_items([item("a", "new")])  # while the old text is being encoded
    store.save_encodings(MODEL, [(taken, b"of old")])
    assert store.item_states(MODEL, ["a"])["a"].encoding is None
    assert len(store.unencoded(MODEL)) == 1
    store.save_encodings(MODEL, [(item("a", "new"), b"of new")])
    assert store.item_states(MODEL, ["a"])["a"].encoding == b"of new"
    store.write_items([item("a", "old")])  # the encoding of "new" is invalid again
    assert store.item_states(MODEL, ["a"])["a"].encoding is None


def test_an_item_deleted_while_it_is_encoded_stays_deleted(store):
    store.write_items([item("a")])
    (taken,) = store.unencoded_among(MODEL, ["a"])
    store.delete_item(taken)
    store.save_encodings(MODEL, [(taken, b"of a")])
    assert store.item_states(MODEL, ["a"])["a"].item.deleted


# -- events --


def test_an_event_sent_twice_counts_once(store):
    happened = [Event(f"e-{n}", f"u-{n % 2}", "a", "shop") for n in range(3)]
    assert store.record_events(happened) == 3
    last = store.latest()
    assert store.record_events(happened) == 0
    assert store.latest() == last
    assert store.record_events([*happened, Event("e-9", "u-9", "b", "shop")] * 2) == 1
    assert store.item_states(MODEL, ["a"])["a"].users.keys() == {"u-0", "u-1"}
    assert store.history("u-9") == ["b"]
    assert store.history("nobody") == []


def test_more_names_than_one_query_may_have(store):
    many = [f"i-{n}" for n in range(1200)]
    assert set(store.write_items([item(name) for name in many])) == {"created"}
    assert set(store.write_items([item(name) for name in many])) == {"unchanged"}
    assert store.record_events([Event(name, "u", name, "shop") for name in many]) == 1200
    found = store.item_states(MODEL, many)
    assert list(found) == many
    assert all(one.item is not None and one.users.keys() == {"u"} for one in found.values())


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
                found = store.changes(at, limit=5)
                seen.extend(found)
                at = seen[-1].number if seen else 0
                if finished and not found:
                    return

        failures = []

        def write(thread):
            through = (store, other)[thread % 2]
            try:
                for n in range(n_writes):
                    through.write_items([item(f"{thread}-{n}"), item("shared", f"{thread}-{n}")])
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
        store.write_items([item(f"i-{n}")])
    first = store.changes(0)[0].number
    store.trim_changes(kept=4)
    assert len(store.changes(store.latest() - 4)) == 4
    with pytest.raises(ChangesLostError, match="no longer stored"):
        store.changes(first)
    with pytest.raises(ChangesLostError, match="was already seen"):  # the store is an older copy
        store.changes(store.latest() + 1)
    assert store.changes(store.latest()) == []


def test_all_item_states_come_page_by_page(store, monkeypatch):
    monkeypatch.setattr(store_module, "_PAGE", 3)
    names = [f"i-{n}" for n in range(8)]
    store.write_items([item(name) for name in names])
    store.save_encodings(MODEL, [(item("i-3"), b"of 3")])
    store.record_events(
        [Event(f"e-{n}", f"u-{n}", name, "s") for n, name in enumerate(["i-3", "zz"])]
    )
    pages = list(store.all_item_states(MODEL))
    assert max(len(page) for page in pages) == 3
    found = {name: one for page in pages for name, one in page.items()}
    assert sum(len(page) for page in pages) == len(found)
    assert found == store.item_states(MODEL, [*names, "zz"])
    assert (found["zz"].item, found["zz"].users.keys()) == (None, {"u-1"})
    assert found["i-3"].encoding == b"of 3"


# -- keys --


def test_keys_are_stored_and_revoked(store):
    made = [Key("k-1", "shop", "write", "hash"), Key("k-2", "shop", "read", "hash")]
    for key in made:
        store.add_key(key)
    assert store.keys() == made
    with pytest.raises(StoreError):
        store.add_key(made[0])
    last = store.latest()
    assert store.revoke("k-1")
    assert not store.revoke("k-9")
    assert [(change.kind, change.name) for change in store.changes(last)] == [("key", "k-1")]
    found = store.keys()
    assert [key.revoked for key in found] == [True, False]


# -- processes --


def test_only_one_process_leads_until_it_ends(url, store):
    with closing(Store(url)) as other:
        if not store.is_postgres:
            assert store.is_leader()
            assert other.is_leader()  # SQLite is for one process
            return
        assert store.is_leader()
        assert not other.is_leader()
        assert store.is_leader()
        store.close()
        end = time.monotonic() + 20  # PostgreSQL frees the lock a moment after the connection ends
        while not other.is_leader():
            assert time.monotonic() < end
            time.sleep(0.02)


def test_a_leader_that_lost_its_connection_no_longer_leads(store, url):
    if not store.is_postgres:
        pytest.skip("SQLite has no connection to be cut")
    assert store.is_leader()
    cut = sa.text(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    with closing(Store(url)) as other:
        engine = engine_of(url)
        with engine.begin() as connection:
            connection.execute(cut)
        engine.dispose()
        deadline = time.monotonic() + 20
        while not other.is_leader():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert not store.is_leader()


def test_wait_returns_at_once_if_a_write_preceded_it(store):
    store.wait(0.0)  # with PostgreSQL, starts to listen
    store.wait(0.1)
    store.write_items([item("a")])
    started = time.monotonic()
    store.wait(20.0)
    assert time.monotonic() - started < 10


def test_wait_ends_when_another_process_writes(store, url):
    if not store.is_postgres:
        pytest.skip("a SQLite store belongs to one process; others are seen by polling")
    store.wait(0.0)
    with closing(Store(url)) as other:
        store.wait(0.1)
        woken = []
        started = time.monotonic()
        thread = threading.Thread(target=lambda: woken.append((store.wait(20.0), time.monotonic())))
        thread.start()
        other.write_items([item("a")])
        wrote = time.monotonic()
        thread.join()
    assert woken[0][1] - max(started, wrote) < 1.0


def test_wait_returns_after_the_timeout(store):
    store.wait(0.0)
    store.wait(0.05)


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
        table.name: {column.name for column in table.columns}
        for table in store_module.items.metadata.sorted_tables
    }


def test_a_store_without_tables_gets_the_current_schema(url):
    """The oldest schema is an empty database."""
    with closing(Store(url)) as store:
        store.write_items([item("a")])
    with closing(Store(url)) as again:  # the current schema is left unchanged
        assert again.item("a") == item("a")
    engine = engine_of(url)
    with engine.begin() as connection:
        for table in tables(url):
            connection.execute(sa.text(f"DROP TABLE {table}"))
    engine.dispose()
    with closing(Store(url)) as fresh:
        assert fresh.write_items([item("a")]) == ["created"]


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
        store.write_items([item("a")])
    with closing(Store(read_only)) as store:
        assert store.item("a") == item("a")
        with pytest.raises(StoreError, match=r"cannot be written: .*readonly"):
            store.write_items([item("b")])


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

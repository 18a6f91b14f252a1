"""The queue of waiting items: keys take turns, and none can shut the others out."""

import pytest

from warmstart.serve.engine.encode_queue import EncodeQueue, QueueFullError


def owned(owner, *items):
    return dict.fromkeys(items, owner)


def write(queue, owner, *items):
    queue.reserve(owner, len(items))
    queue.add(owned(owner, *items))
    queue.release(owner, len(items))


def test_keys_take_turns():
    queue = EncodeQueue(100)
    write(queue, "a", *(f"a{n}" for n in range(6)))
    write(queue, "b", "b0", "b1")
    write(queue, "c", "c0")
    assert queue.take(4, 0) == ["a0", "b0", "c0", "a1"]
    write(queue, "c", "c1")
    assert queue.take(10, 0) == ["b1", "a2", "c1", "a3", "a4", "a5"]
    assert queue.take(10, 0) == []
    assert len(queue) == 10


def test_a_flood_by_one_key_leaves_room_for_the_others():
    queue = EncodeQueue(10)
    write(queue, "a", *(f"a{n}" for n in range(10)))
    with pytest.raises(QueueFullError, match=r"10 items of this key are waiting.*at most 10 may"):
        queue.reserve("a", 1)
    write(queue, "b", "b0", "b1", "b2", "b3", "b4")  # half of it, as two keys wait
    with pytest.raises(QueueFullError, match="at most 5 may"):
        queue.reserve("b", 1)
    write(queue, "c", "c0", "c1", "c2")
    with pytest.raises(QueueFullError):
        queue.reserve("a", 1)
    assert queue.take(3, 0) == ["a0", "b0", "c0"]


def test_reserved_room_counts_until_it_is_released():
    queue = EncodeQueue(4)
    queue.reserve("a", 4)
    with pytest.raises(QueueFullError):
        queue.reserve("a", 1)
    queue.reserve("b", 2)
    queue.release("a", 4)
    queue.release("b", 2)
    queue.reserve("a", 4)


def test_the_backlog_takes_no_room_and_delays_no_write():
    queue = EncodeQueue(2)
    queue.add_backlog(f"old{n}" for n in range(1000))
    write(queue, "a", "a0", "a1")
    assert queue.take(4, 0) == ["old0", "a0", "old1", "a1"]
    write(queue, "b", "old5")  # written again: it need not wait for the whole backlog
    assert queue.take(2, 0) == ["old2", "old5"]
    assert len(queue) == 1002


def test_the_time_to_wait_follows_from_the_speed():
    queue = EncodeQueue(100)
    write(queue, "a", *(f"a{n}" for n in range(100)))
    for _ in range(40):
        queue.done(queue.take(1, 0), seconds=0.5)  # two a second
        queue.add(owned("a", f"x{len(queue)}-{_}"))
    with pytest.raises(QueueFullError) as caught:
        queue.reserve("a", 20)
    assert caught.value.retry_after == pytest.approx(10, rel=0.3)


def test_items_put_back_come_first_again_and_finished_ones_are_gone():
    queue = EncodeQueue(10)
    write(queue, "a", "a0", "a1", "a2")
    taken = queue.take(2, 0)
    queue.put_back(taken)
    assert queue.take(3, 0) == ["a0", "a1", "a2"]
    queue.add(owned("a", "a1"))  # changed while it is encoded
    queue.done(["a0", "a1", "a2"], 1)
    assert len(queue) == 1
    queue.discard(["a1", "never-was"])
    assert len(queue) == 0
    assert queue.oldest_seconds() == 0


def test_the_age_of_the_oldest_item_is_known(monkeypatch):
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    queue = EncodeQueue(10)
    queue.add(owned("a", "a0"))
    now = 103.0
    queue.add(owned("b", "b0"))
    now = 104.0
    assert queue.oldest_seconds() == pytest.approx(4)
    assert queue.take(1, 0) == ["a0"]
    assert queue.oldest_seconds() == pytest.approx(4)  # it is not finished
    queue.done(["a0"], 1)
    assert queue.oldest_seconds() == pytest.approx(1)

"""Lists are computed in batches; dear ones never delay plain ones."""

import asyncio
import threading

import pytest

from warmstart.data.control import Control
from warmstart.serve.engine import batcher as module
from warmstart.serve.engine.batcher import Batcher, BusyError
from warmstart.serve.engine.lists import ControlError, ListRequest


@pytest.fixture
def plain(toy_split):
    return ListRequest(user=str(toy_split.train.user_ids.values[0]))


@pytest.fixture
def dear(plain, toy_split):
    item = str(toy_split.train.catalogue.item_ids.values[0])
    return [
        ListRequest(user=plain.user, explain=True),
        ListRequest(user=plain.user, k=101),
        ListRequest(history=(item,)),
        ListRequest(user="stranger"),
        ListRequest(user=plain.user, deny=(item,) * 1001),
    ]


def test_a_plain_list_does_not_wait_for_dear_ones(service, plain, dear, monkeypatch):
    held, compute = threading.Event(), service.deployment.index.recommend

    def slow(requests):
        if requests[0] != plain:
            held.wait(20)
        return compute(requests)

    monkeypatch.setattr(service.deployment.index, "recommend", slow)

    async def ask():
        batcher = Batcher(service)
        waiting = [asyncio.create_task(batcher.recommend(request)) for request in dear]
        await asyncio.sleep(0.05)
        for _ in range(200):  # enough to be computed in the event loop in the end
            assert len(await batcher.recommend(plain)) == 10
        assert not any(task.done() for task in waiting)
        assert batcher._plain.seconds < module._SHORT_SECONDS
        held.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        batcher.close()
        return found

    found = asyncio.run(ask())
    assert len(found[0]) == 10
    assert found[0][0].evidence is not None


def test_lists_under_a_control_delay_no_others(service, plain, dear, monkeypatch):
    held, compute, batches = threading.Event(), service.deployment.index.recommend, []

    def slow(requests):
        if requests[0].control is not None:
            batches.append(len(requests))
            held.wait(20)
        return compute(requests)

    monkeypatch.setattr(service.deployment.index, "recommend", slow)
    monkeypatch.setattr(module, "_MAX_CONTROLLED", 2)
    wishes = (Control(n_genres=2), Control(diversity=0.5), Control(n_genres=99))
    controlled = [ListRequest(user=plain.user, control=control) for control in wishes]

    async def ask():
        batcher = Batcher(service)
        waiting = [asyncio.create_task(batcher.recommend(controlled[0]))]
        await asyncio.sleep(0.05)  # the first is being computed
        more = (*controlled[1:], controlled[0])
        waiting += [asyncio.create_task(batcher.recommend(request)) for request in more]
        for request in (plain, dear[0], dear[2]):
            assert len(await batcher.recommend(request)) == 10
        assert not any(task.done() for task in waiting[:3])
        held.set()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        batcher.close()
        return found

    *found, impossible, refused = asyncio.run(ask())
    assert all(isinstance(hits, list) and hits for hits in found)
    assert isinstance(impossible, ControlError)
    assert isinstance(refused, BusyError)
    assert batches == [1, 1, 1]


def test_too_many_waiting_requests_are_refused(service, plain, monkeypatch):
    monkeypatch.setattr(module, "_MAX_WAITING", 3)
    held = threading.Event()
    monkeypatch.setattr(
        service.deployment.index,
        "recommend",
        lambda requests: held.wait(20) and [[]] * len(requests),
    )

    async def ask():
        batcher = Batcher(service)
        tasks = [asyncio.create_task(batcher.recommend(plain))]
        await asyncio.sleep(0.05)  # the first is being computed
        tasks += [asyncio.create_task(batcher.recommend(plain)) for _ in range(5)]
        await asyncio.sleep(0.05)
        held.set()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        batcher.close()
        return found

    found = asyncio.run(ask())
    assert [type(one) for one in found] == [list] * 4 + [BusyError] * 2


def test_an_error_reaches_every_request_of_its_batch(service, plain, monkeypatch):
    def broken(requests):
        raise ValueError(f"{len(requests)} requests")

    monkeypatch.setattr(service.deployment.index, "recommend", broken)

    async def ask():
        batcher = Batcher(service)
        calls = (batcher.recommend(plain) for _ in range(4))
        found = await asyncio.gather(*calls, return_exceptions=True)
        batcher.close()
        return found

    assert all(isinstance(one, ValueError) for one in asyncio.run(ask()))


def test_closing_refuses_what_waits_and_finishes_what_runs(service, dear, monkeypatch):
    started, held, compute = (
        threading.Event(),
        threading.Event(),
        service.deployment.index.recommend,
    )

    def slow(requests):
        started.set()
        held.wait(20)
        return compute(requests)

    monkeypatch.setattr(service.deployment.index, "recommend", slow)

    async def ask():
        batcher = Batcher(service)
        running = asyncio.create_task(batcher.recommend(dear[0]))
        await asyncio.to_thread(started.wait, 20)
        waiting = [asyncio.create_task(batcher.recommend(request)) for request in dear[1:3]]
        await asyncio.sleep(0)
        batcher.close()
        held.set()
        return await asyncio.gather(running, *waiting, return_exceptions=True)

    running, *waiting = asyncio.run(ask())
    assert len(running) == 10
    assert [type(one) for one in waiting] == [BusyError] * 2

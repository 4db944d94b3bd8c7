"""The queue: only the newest drawing of each page counts, and waiting is limited."""

import asyncio

import pytest

from contextual_gan.web.queue import MOST_SEARCHES, MOST_WAITING, Busy, Queue, Stale


def test_a_newer_drawing_of_the_same_page_replaces_an_older_one():
    queue = Queue()
    with queue.newest("a", 1) as check, queue.newest("b", 1) as other:
        check()
        with queue.newest("a", 2) as newer:
            newer()
            with pytest.raises(Stale):
                check()
        other()
    with pytest.raises(Stale), queue.newest("a", 5), queue.newest("a", 4):
        pass
    assert not queue._newest  # nothing is kept for closed pages


def test_waiting_requests_are_limited():
    queue = Queue()

    def wait(n):
        with queue.waiting():
            if n > 1:
                wait(n - 1)

    wait(MOST_WAITING)
    with pytest.raises(Busy, match=str(MOST_WAITING)):
        wait(MOST_WAITING + 1)
    assert len(queue) == 0


def test_searches_run_in_turn_and_report_the_number_before_them():
    queue, order = Queue(), []

    async def search(name, ends):
        async with queue.search() as turn:
            ahead = [n async for n in turn()]
            order.append((name, ahead[:1]))
            await ends.wait()

    async def main():
        ends = asyncio.Event()
        tasks = [asyncio.create_task(search(name, ends)) for name in "abc"]
        await asyncio.sleep(0.01)
        tasks[1].cancel()  # leaves the queue before its turn
        await asyncio.sleep(0.01)
        ends.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(main())
    assert order == [("a", []), ("c", [2])]
    assert len(queue) == 0


def test_searches_are_limited():
    queue = Queue()

    async def nest(n):
        async with queue.search():
            if n > 1:
                await nest(n - 1)

    asyncio.run(nest(MOST_SEARCHES))
    with pytest.raises(Busy):
        asyncio.run(nest(MOST_SEARCHES + 1))

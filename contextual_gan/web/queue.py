"""Access to the model: one thread for the networks, and a queue of searches.

A search runs step by step, so other pages get faces for their strokes between two steps. Only the newest drawing of
each page counts.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager

from contextual_gan.web.guard import Refused

MOST_WAITING = 64  # requests for a face in progress
MOST_SEARCHES = 16  # in the queue, including the running one


class Busy(Refused):
    """Too many requests at once."""

    def __init__(self, number):
        super().__init__(503, f"The model is busy: {number} requests are waiting. Try again in a moment.")


class Stale(Refused):
    """A request whose page has sent a newer drawing."""

    def __init__(self):
        super().__init__(409, "A newer drawing has replaced this one.")


class Queue:
    """The worker threads and their queues. Everything else runs in the single thread of the event loop."""

    def __init__(self):
        # pictures can take seconds to read; a drawing on the page must not wait for them
        self._threads = {name: ThreadPoolExecutor(1, name) for name in ("model", "drawings", "pictures")}
        self._searches = []  # tickets in order of arrival
        self._newest = {}  # {page: number of its newest drawing}, of pages waiting for a face
        self._waiting = 0
        self._moved = asyncio.Event()

    def __len__(self):
        return self._waiting + len(self._searches)

    async def call(self, thread, function, *args):
        """function(*args) in the thread "model", "drawings" or "pictures"."""
        return await asyncio.get_running_loop().run_in_executor(self._threads[thread], function, *args)

    def start(self, thread, function, *args):
        """Queue function(*args) in a thread, ahead of later calls, without waiting for its result."""
        self._threads[thread].submit(function, *args)

    @contextmanager
    def waiting(self):
        """Count a request as waiting for a face. Raises `Busy`."""
        if self._waiting >= MOST_WAITING:
            raise Busy(self._waiting)
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    @contextmanager
    def newest(self, page, number):
        """Yield check(), which raises `Stale` once the page has sent a drawing with a higher number."""
        if self._newest.get(page, number) > number:
            raise Stale
        self._newest[page] = number

        def check():
            if self._newest.get(page, number) > number:
                raise Stale

        try:
            yield check
        finally:
            if self._newest.get(page) == number:
                del self._newest[page]

    @asynccontextmanager
    async def search(self):
        """Take a place in the queue of searches; yield turn(), see there. Raises `Busy`."""
        if len(self._searches) >= MOST_SEARCHES:
            raise Busy(len(self))
        ticket = object()
        self._searches.append(ticket)

        async def turn():
            """Yield the number of searches before this one, at least every second, until it is first."""
            while ahead := self._searches.index(ticket):
                yield ahead
                moved = self._moved
                try:
                    async with asyncio.timeout(1):
                        await moved.wait()
                except TimeoutError:
                    continue

        try:
            yield turn
        finally:
            self._searches.remove(ticket)
            self._moved.set()  # wakes all current waiters; later ones wait for the next event
            self._moved = asyncio.Event()

    def close(self):
        """End the threads, each after its current work."""
        for executor in self._threads.values():
            executor.shutdown(wait=False, cancel_futures=True)

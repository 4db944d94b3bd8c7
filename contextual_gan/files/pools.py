"""Run a function over many tasks, in local processes or on a Dask cluster, and survive the death of workers.

Both are executors in the sense of `concurrent.futures` and differ only in how they are opened.
"""

import os
import signal
import threading
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, CancelledError, ProcessPoolExecutor, wait
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from types import SimpleNamespace

CHUNK_TASKS, CHUNK_BYTES = 16, 10**6  # sent to a worker together, as communication takes time
CHUNKS_PER_WORKER = 2  # in flight: enough to keep a worker busy, few enough for memory
SECONDS_WITHOUT_WORKERS = 60  # before giving up on a cluster that has lost all workers


class WorkerDied:
    """The result of a task that kills its worker process, even if it runs alone."""


def cores():
    """The number of cores available to this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def connect(workers=None, scheduler=None):
    """A context with a pool for `run`: processes on this machine (default: one per core), or a Dask cluster.

    scheduler: the address of a Dask scheduler, tcp://HOST:PORT, whose workers have contextual_gan installed.
    Raises ValueError if no scheduler answers, if it has no workers, or if Dask is not installed.
    """
    return _cluster(scheduler) if scheduler else _processes(workers or cores())


def run(function, tasks, pool):
    """Yield (key, function(*arguments)) for all (key, arguments) of `tasks`, in the order in which they finish.

    `tasks` is read only as fast as the workers need it. A result is `WorkerDied()` if the process died; other tasks
    that were in flight with it are repeated one at a time, so none is lost.
    Raises ConnectionError if a cluster has lost its scheduler or all of its workers.
    """
    executor, running, suspects, chunks = pool.open(), {}, [], _chunks(tasks)
    try:
        while True:
            while not suspects and len(running) < pool.slots and (chunk := next(chunks, None)) is not None:
                try:
                    running[executor.submit(_each, function, [arguments for _, arguments in chunk])] = chunk
                except BrokenExecutor:
                    suspects += chunk
            if not running and not suspects:
                return
            for future in _finished(running, pool):
                chunk = running.pop(future)
                if (results := _result(future, pool)) is None:
                    suspects += chunk
                else:
                    yield from zip((key for key, _ in chunk), results, strict=True)
            if suspects and not running:
                executor.shutdown()
                yield from _one_at_a_time(function, suspects, pool)
                executor, suspects = pool.open(), []
    finally:
        for future in running:
            future.cancel()
        executor.shutdown()


def _chunks(tasks):
    """Lists of tasks, short if the arguments are large."""
    chunk, size = [], 0
    for task in tasks:
        chunk.append(task)
        size += sum(len(part) for argument in task[1] if isinstance(argument, list) for part in argument)
        if len(chunk) == CHUNK_TASKS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _each(function, tasks):
    return [function(*arguments) for arguments in tasks]


def _one_at_a_time(function, tasks, pool):
    executor = pool.open(1)
    for key, arguments in tasks:
        future = executor.submit(function, *arguments)
        while not _finished([future], pool):
            pass
        if (result := _result(future, pool)) is None:
            executor.shutdown()
            executor = pool.open(1)
        yield key, WorkerDied() if result is None else result
    executor.shutdown()


def _finished(futures, pool):
    """The futures that are done, perhaps none after a short wait."""
    done = wait(futures, timeout=SECONDS_WITHOUT_WORKERS, return_when=FIRST_COMPLETED).done
    if futures and not done:
        pool.check()
    return done


def _result(future, pool):
    """The result of a future that is done, None if its worker died."""
    try:
        return future.result()
    except pool.deaths:
        return None
    except CancelledError as error:
        raise ConnectionError("lost the Dask scheduler; run the same command again to continue") from error


@contextmanager
def _processes(workers):
    """Spawned processes: a fork would copy the threads and locks of TensorFlow and OpenCV."""

    def open_executor(workers=workers):
        return ProcessPoolExecutor(workers, get_context("spawn"), _live_and_die_with_parent)

    slots = workers * CHUNKS_PER_WORKER
    yield SimpleNamespace(open=open_executor, slots=slots, deaths=(BrokenExecutor,), check=lambda: None)


def _live_and_die_with_parent():
    """Leave Ctrl-C to the parent, and end when it is killed; otherwise a worker would wait forever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow(parent):
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, args=(parent_process(),), daemon=True).start()


@contextmanager
def _cluster(address):
    try:
        from distributed import Client, KilledWorker
    except ModuleNotFoundError as error:
        raise ValueError('a scheduler needs Dask: run pip install -e ".[cluster]"') from error
    try:
        client = Client(address, timeout=5, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise ValueError(f"no Dask scheduler answers at {address}") from error
    with client:
        if not client.nthreads():
            raise ValueError(f"the Dask scheduler at {address} has no workers; start some: dask worker {address}")

        def check():
            if not client.nthreads():
                raise ConnectionError(f"all workers of {address} are gone; start some and run the same command again")

        yield SimpleNamespace(
            open=lambda workers=None: client.get_executor(pure=False),
            slots=CHUNKS_PER_WORKER * sum(client.nthreads().values()),
            deaths=(KilledWorker,),
            check=check,
        )

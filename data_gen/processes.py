"""Work spread over processes: each has one thread, and none outlives the process that asked for it."""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from types import ModuleType
from typing import Any, TypeVar

from icrl.errors import LaunchError

T = TypeVar("T")


def spread(
    function: Callable[..., T], calls: Sequence[tuple], workers: int, prepare: Callable[..., None], prepared: tuple
) -> Iterator[T]:
    """Makes every call in one of `workers` fresh processes; yields the results in the order in which they come.

    Args:
        function: of a module that a process can import. calls: its arguments, one tuple each.
        prepare, prepared: called once in every process before its first call, with these arguments.

    Raises:
        LaunchError: where a process was killed.
    """
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start, initargs=(prepare, prepared)
    )
    try:
        with _one_thread_each(), _without_main():
            futures = [pool.submit(function, *arguments) for arguments in calls]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool:
        raise LaunchError(
            f"one of {workers} processes was killed, by a lack of memory most often: "
            "lower --workers or --histories_per_shard, then go on with --resume"
        ) from None
    finally:
        # Not `with pool`: that waits for every call that was asked for, also after Ctrl-C.
        pool.shutdown(cancel_futures=True)


def importable(*things: Any) -> bool:
    """Whether a fresh process can import these without running the script that was started."""
    try:
        return b"__main__" not in pickle.dumps(things)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False


def _start(prepare: Callable[..., None], prepared: tuple) -> None:
    # Ctrl-C reaches every process of the terminal; the one that was started answers for all.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(*prepared)


def _end_with_parent() -> None:
    """A pool's process whose parent was killed would wait for its next call for ever."""
    parent_process().join()
    os._exit(1)


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes started here do not run the user's script again, as they would to have its definitions.

    Without this a script needs an `if __name__ == "__main__":` around its work, or each process does that work too.
    """
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Started processes inherit these: where processes share the cores, threads of their own only fight for them."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

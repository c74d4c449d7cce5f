"""Work spread over processes: each has one thread, and none outlives the process that asked for it."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import active_children, get_context
from typing import TypeVar

from icrl.errors import LaunchError
from icrl.processes import fresh_processes, stay_with_parent

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
    others = set(active_children())
    pool = ProcessPoolExecutor(
        workers, mp_context=get_context("spawn"), initializer=_start, initargs=(prepare, prepared)
    )
    try:
        with fresh_processes():
            futures = [pool.submit(function, *arguments) for arguments in calls]
        for future in as_completed(futures):
            yield future.result()
    except BrokenProcessPool:
        raise LaunchError(
            f"one of {workers} processes was killed, by a lack of memory most often: "
            "lower --workers, then go on with --resume; or lower --histories_per_shard, and begin in another folder"
        ) from None
    except BaseException:
        # Nobody waits for a shard that nobody wants: after Ctrl-C, SIGTERM, or an error in another one.
        for process in set(active_children()) - others:
            process.kill()
        raise
    finally:
        # Not `with pool`: that waits for every call that was asked for.
        pool.shutdown(cancel_futures=True)


def _start(prepare: Callable[..., None], prepared: tuple) -> None:
    stay_with_parent()
    prepare(*prepared)

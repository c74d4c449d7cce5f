"""How fresh processes are started and end: one thread each, without the user's script, never without their parent."""

import os
import pickle
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import parent_process, resource_tracker
from types import ModuleType
from typing import Any


def importable(*things: Any) -> bool:
    """Whether a fresh process can import these without running the script that was started."""
    try:
        return b"__main__" not in pickle.dumps(things)
    except (pickle.PicklingError, AttributeError, TypeError):
        return False


def cores() -> int:
    """The cores that this process may use: fewer than the machine has, where a scheduler has pinned it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def fresh_processes() -> Iterator[None]:
    """Processes that are started in here with the method "spawn" have one thread each, do not run the user's script
    again, and are deaf to Ctrl-C from their first moment, and to SIGTERM until they `stay_with_parent`.

    Without this a script needs an `if __name__ == "__main__":` around its work, or each process does that work too;
    and one that is still importing when Ctrl-C comes, or that a signal keeps from being told what to do, ends in a
    traceback.
    """
    main = sys.modules["__main__"]
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    # Where processes share the cores, threads of their own only fight for them.
    os.environ.update(dict.fromkeys(names, "1"))
    sys.modules["__main__"] = ModuleType("__main__")
    resource_tracker.ensure_running()  # Its start, otherwise with the first process, would unblock the signal.
    blocked_before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked_before)
        sys.modules["__main__"] = main
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def stay_with_parent() -> None:
    """Called first in a fresh process: it ends when its parent does, however that ends, and not by Ctrl-C.

    Ctrl-C reaches every process of the terminal; the one that was started answers for all.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent_process().join()
    os._exit(1)

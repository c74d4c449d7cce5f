"""How a run of several processes is stopped: SIGTERM becomes a checkpoint after the same step in all of them.

A launch is three generations: the process that the user started, the launcher, and the processes that train. The first
alone decides: a file in the launch's folder says that a stop is asked for, and whoever trains looks for it. A SIGTERM
without that file is the launcher's, which closes the others where one has failed.
"""

import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from icrl import stopping

STOP_FILE = "stop"
LAUNCHER = "ICRL_LAUNCHER"
"""An environment variable: the launcher's process number."""
LOOK = 0.2
"""Seconds between two looks at the launcher and at the file."""
UNASKED = 2.0
"""Seconds that a process lives on after a SIGTERM that the file does not explain."""
ASK = 0.5
"""Seconds of training between two questions to the other processes, at least."""
MOST_STEPS = 100
"""And steps, at most."""


class Vote:
    """Asked by every process after every step: whether all of them stop after it."""

    def __init__(self, accelerator: Any, start: int) -> None:
        self._accelerator = accelerator
        self._next = self._last = start + 1
        self._time = time.monotonic()

    def __call__(self, done: int) -> bool:
        if self._accelerator.num_processes == 1:
            return stopping.asked()
        if done < self._next:
            return False
        import torch

        # The processes answer together, also on when to ask again: how long a step takes differs between them.
        now = time.monotonic()
        seconds = (now - self._time) / max(done - self._last, 1)
        steps = min(max(int(ASK / max(seconds, 1e-9)), 1), MOST_STEPS) if done > self._last else 1
        self._last, self._time = done, now
        votes = torch.tensor([int(stopping.asked()), -steps], device=self._accelerator.device)
        torch.distributed.all_reduce(votes, torch.distributed.ReduceOp.MAX)
        asked, steps = votes.tolist()
        self._next = done - steps
        return bool(asked)


def stay_with_launch(folder: Path) -> None:
    """In a process that trains: it ends when its launcher does, and is stopped by the file alone."""
    unasked: list[float] = []

    def is_asked() -> bool:
        if (folder / STOP_FILE).exists():
            return True
        unasked.append(time.monotonic())
        return False

    def watch() -> None:
        launcher, told = int(os.environ.get(LAUNCHER, os.getppid())), False
        while os.getppid() == launcher:
            if not told and (folder / STOP_FILE).exists():
                told = True
                stopping.stop()
            if not told and unasked and time.monotonic() - unasked[0] > UNASKED:
                os._exit(128 + signal.SIGTERM)
            time.sleep(LOOK)
        os._exit(1)

    stopping.listen_to(is_asked)
    threading.Thread(target=watch, daemon=True).start()


def leave_signals_to_parent(_: int = 0) -> None:
    """In a process that reads windows: it ends when the one that trains has enough of it, or is gone."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def be_a_launcher() -> None:
    """In the launcher: it is deaf to signals, which are for the process that started it, and ends with that one."""
    # Not SIG_IGN, which the processes that it starts would inherit; and torchrun would have handlers of its own.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGQUIT"
    os.environ[LAUNCHER] = str(os.getpid())
    parent = os.getppid()

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(LOOK)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def end_launch(launcher: subprocess.Popen) -> None:
    """Kills a launcher and the processes that it has started, and waits for them."""
    children = Path(f"/proc/{launcher.pid}/task/{launcher.pid}/children")
    patience = time.monotonic() + UNASKED
    while launcher.poll() is None:
        found: list[str] = []
        with suppress(OSError):  # Elsewhere than on Linux: they notice by themselves that it is gone.
            found = children.read_text().split()
        for child in found:
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        if not found or time.monotonic() > patience:
            launcher.kill()
        time.sleep(0.05)

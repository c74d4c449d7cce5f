"""Ctrl-C and SIGTERM end a command for sure, in one line, and leave nothing half-written.

Python raises a signal's exception wherever the main thread happens to be, and drops it where that is a finaliser, an
import hook or a library's bare `except`. So the exception is raised again until it is seen to be on its way up; what
is stuck, in a library's own code or in its cleaning, is ended from another thread.

Signals are touched by the command line alone, and given back when it is done.
"""

import _thread
import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from icrl.files import drop_partials

TICK = 0.2
"""Seconds between two looks at whether the exception is on its way up."""
PATIENCE = 5.0
"""Seconds that a command has to clean up, from the signal on."""
REPEAT = 0.5
"""Seconds in which a second Ctrl-C is the first one: terminals, `make` and `timeout` may send it twice."""

_now: "Signals | None" = None


class Stopped(BaseException):
    """SIGTERM has come. No `Exception`, as KeyboardInterrupt is none: code that outlives errors does not catch it.

    Args:
        message: what to tell; None says how to go on, and an empty one nothing.
    """

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message)
        self.message = message


class Signals:
    """Ctrl-C and SIGTERM as this process takes them, from `start` to `end`."""

    def __init__(self) -> None:
        self.error: BaseException | None = None
        """What the first signal has raised."""
        self.over: int | None = None
        """The exit code, once all is done: from then on a signal ends the process with it."""
        self.asked = False
        """Whether SIGTERM has come while `deferred`."""
        self.meant: Callable[[], bool] = lambda: True
        """Whether a SIGTERM that has come is one to stop at."""
        self.quiet = False
        """Whether another process tells the user."""
        self._tell: Callable[[], None] | None = None
        self._looks = False
        self._pid, self._main = os.getpid(), threading.main_thread().ident
        self._before: dict[int, Any] = {}

    def start(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            before = signal.getsignal(number)
            if before not in (signal.SIG_IGN, None):  # Such as under nohup: whoever started this wants it so.
                self._before[number] = before
                signal.signal(number, self._take)
        self._unraisable, sys.unraisablehook = sys.unraisablehook, self._hide

    def end(self) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        sys.unraisablehook = self._unraisable

    def ignore(self) -> None:
        """Python would give signals back to the system now, which ends a process whose work is done by their code."""
        for number in self._before:
            signal.signal(number, signal.SIG_IGN)

    def stop(self) -> None:
        """Raises Stopped in the main thread, as SIGTERM does; for other threads of this process."""
        signal.pthread_kill(self._main, signal.SIGTERM)

    def _take(self, number: int, _: Any) -> None:
        if os.getpid() != self._pid:  # A fork of this process, such as a reader of windows.
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        elif self.over is not None:
            os._exit(self.over)
        elif self._looks:
            self._looks = False
            if not _is_on_its_way(self.error):
                raise self.error
        elif number == signal.SIGTERM and not self.meant():
            return
        elif number == signal.SIGTERM and self._tell is not None:
            self.asked = True
            self._tell()
        elif number == signal.SIGTERM and self.asked:
            return  # The stop that was asked for is under way.
        elif self.error is None:
            self.error = KeyboardInterrupt() if number == signal.SIGINT else Stopped()
            self._since = time.monotonic()
            # Not `threading`, whose locks the main thread may hold at this very moment.
            _thread.start_new_thread(self._see_to_it, (number,))
            raise self.error
        elif number == signal.SIGINT and time.monotonic() - self._since > REPEAT:
            self._end_now(number)

    def _see_to_it(self, number: int) -> None:
        while time.monotonic() - self._since < PATIENCE:
            time.sleep(TICK)
            if self.over is not None:
                return
            self._looks = True
            signal.pthread_kill(self._main, number)
        self._end_now(number)

    def _end_now(self, number: int) -> NoReturn:
        drop_partials()
        if not self.quiet:
            os.write(2, f"icrl: {message_of(self.error)}\n".encode())
        os._exit(128 + number)

    def _hide(self, unraisable: Any) -> None:
        """An exception in a finaliser is shown by Python; not that of a stop, nor what comes of it."""
        if self.error is None:
            self._unraisable(unraisable)

    @contextmanager
    def _deferring(self, tell: Callable[[], None]) -> Iterator[None]:
        self._tell = tell
        try:
            yield
        finally:
            self._tell = None


@contextmanager
def signals(for_good: bool) -> Iterator[Signals]:
    """Takes Ctrl-C and SIGTERM for the length of a command; outside the main thread nothing is taken.

    Args:
        for_good: the process ends with this command: what comes while it shuts down ends it at once, with the
            command's own exit code.
    """
    global _now
    taken, before = Signals(), _now
    if threading.current_thread() is not threading.main_thread():
        yield taken
        return
    _now = taken
    taken.start()
    if for_good:
        atexit.register(taken.ignore)  # The first one is called last.
    try:
        yield taken
    finally:
        if not for_good:
            taken.over = 0  # For the thread that looks.
            taken.end()
            _now = before


@contextmanager
def deferred(tell: Callable[[], None] = lambda: None) -> Iterator[None]:
    """In here SIGTERM raises nothing: `tell` is called, in the middle of whatever runs, and `asked` says so."""
    if _now is None:
        yield
    else:
        with _now._deferring(tell):
            yield


def asked() -> bool:
    """Whether SIGTERM has come since `deferred`."""
    return _now is not None and _now.asked


def listen_to(meant: Callable[[], bool]) -> None:
    """From now on a SIGTERM counts only where `meant` says so when it comes; another process tells the user."""
    if _now is not None:
        _now.meant, _now.quiet = meant, True


def stop() -> None:
    """From any thread: has the main thread take a SIGTERM. Does nothing where the command line is not in charge."""
    if _now is not None:
        _now.stop()


def message_of(error: BaseException) -> str:
    """What a stop says of itself."""
    if isinstance(error, Stopped):
        default = "stopped by SIGTERM; go on with the same command and --resume"
        return default if error.message is None else error.message
    return "stopped; go on with the same command and --resume"


def code_of(error: BaseException) -> int:
    """The exit code of a stop: 128 and the signal's number, as a shell has it."""
    return 128 + (signal.SIGTERM if isinstance(error, Stopped) else signal.SIGINT)


def _is_on_its_way(error: BaseException) -> bool:
    """Whether the code that runs now cleans up after this exception: it, or one that came of it, is being handled."""
    handled, seen = sys.exception(), set()
    while handled is not None and id(handled) not in seen:
        if handled is error:
            return True
        seen.add(id(handled))
        handled = handled.__context__
    return False

"""Errors that arise in code of the user's own, such as a task family's: one line that names its place."""

import os
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from icrl.errors import FamilyError, IcrlError

TRACEBACK = "ICRL_TRACEBACK"
"""An environment variable: where it is set, errors of the user's code keep their traceback."""

_own: set[str] = set()


def add_own_code(place: str | Path) -> None:
    """From now on a package, or the files of a folder (a Path), count as the user's own."""
    if place != "icrl":
        _own.add(str(place))


def line_of(error: BaseException) -> str:
    """ " (corridor.py, line 12)": the last line of the user's own that an error came through; empty where none is."""
    for frame, number in reversed(list(traceback.walk_tb(error.__traceback__))):
        file = Path(frame.f_code.co_filename)
        if str(file.parent) in _own or frame.f_globals.get("__name__", "").partition(".")[0] in _own:
            return f" ({file.name}, line {number})"
    return ""


def in_one_line(error: BaseException) -> str:
    """ "KeyError: 'gravty' (corridor.py, line 12)"; without the kind where the message was written for a user."""
    kind = "" if isinstance(error, IcrlError) else f"{type(error).__name__}: "
    return " ".join(f"{kind}{error}{line_of(error)}".split())


@contextmanager
def own_code_fails_in_one_line() -> Iterator[None]:
    """Raises FamilyError, whose message is one line, for any other exception that came through code of the user's."""
    try:
        yield
    except IcrlError:
        raise
    except Exception as error:
        if not line_of(error) or TRACEBACK in os.environ:
            raise
        raise FamilyError(f"{in_one_line(error)}; set {TRACEBACK}=1 to see the whole traceback") from error

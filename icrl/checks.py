"""Runs the checks of one `icrl check-…` command, one after the other, and says what each found."""

import sys
from collections.abc import Callable, Sequence
from typing import Any

from icrl.own_code import in_one_line


class Failure(Exception):
    """A promise that is not kept: what was seen, and what was expected."""


def expect(kept: Any, message: str) -> None:
    """Raises Failure with this message unless `kept`."""
    if not kept:
        raise Failure(message)


def run_checks(
    checks: Sequence[Callable[[Any], None]], subject: Any, title: str, show: Callable[[str], None] = print
) -> list[str]:
    """Runs every check on a subject and shows what it finds; returns the names of the checks that failed.

    Args:
        checks: each raises `Failure`, or whatever else code of somebody's own raises; its docstring is the promise.
        title: the first line.
    """
    show(title)
    failed: list[str] = []
    told: dict[str, str] = {}
    for check in checks:
        try:
            check(subject)
        except Failure as failure:
            failed.append(check.__name__)
            show(f"  FAILED  {check.__name__}: {check.__doc__}\n          {failure}")
        except Exception as error:
            # Whatever else code of somebody's own raises: the other checks still have something to say.
            failed.append(check.__name__)
            text = in_one_line(error)
            again = told.setdefault(text, check.__name__)
            text = text if again == check.__name__ else f"as in {again}"
            show(f"  FAILED  {check.__name__}: {check.__doc__}\n          {text}")
        else:
            show(f"  ok      {check.__name__}: {check.__doc__}")
    return failed


def conclude(failed: Sequence[str], number: int) -> int:
    """The last line, and the exit code: 1 where a check failed."""
    if failed:
        print(f"icrl: {len(failed)} of {number} checks failed: {', '.join(failed)}", file=sys.stderr)
        return 1
    print(f"all {number} checks passed")
    return 0

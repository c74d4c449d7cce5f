"""Progress of a long job: a bar with an estimate on a terminal, a line every ten seconds in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def progress(
    description: str, total: float, *, unit: str = "steps", done: float = 0, enabled: bool = True
) -> Iterator[Callable[..., None]]:
    """Shows how far a job has come and how long it still needs, on stderr.

    Args:
        description: what is being done ("recording").
        total: how much there is to do, in `unit`.
        done: how much of it an earlier run has done; it does not count towards the speed.
        enabled: False shows nothing (every rank but the first).

    Yields:
        `advance(n=1, note="")`: `n` more are done; `note` is shown beside them.
    """
    if not enabled:
        yield lambda n=1, note="": None
    elif sys.stderr.isatty():
        with _bar(description, total, unit, done) as advance:
            yield advance
    else:
        yield _lines(description, total, unit, done)


@contextmanager
def _bar(description: str, total: float, unit: str, done: float) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}/{task.total:,.0f} " + unit),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(description, total=total, completed=done, note="")

        def advance(n: float = 1, note: str = "") -> None:
            if note:
                bar.update(task, advance=n, note=note)
            else:
                bar.update(task, advance=n)

        yield advance


def _lines(description: str, total: float, unit: str, done: float) -> Callable[..., None]:
    start = last = time.monotonic()
    count, shown = float(done), ""

    def advance(n: float = 1, note: str = "") -> None:
        nonlocal count, last, shown
        count, shown = count + n, note or shown
        now = time.monotonic()
        if now - last < SECONDS_BETWEEN_LINES and count < total:
            return
        last = now
        left = (total - count) * (now - start) / max(count - done, 1e-9)
        tail = f" · {shown}" if shown else ""
        print(
            f"{description}: {count:,.0f}/{total:,.0f} {unit}, {clock(now - start)} so far, {clock(left)} left{tail}",
            file=sys.stderr,
            flush=True,
        )

    return advance


def clock(seconds: float) -> str:
    """`m:ss`, or `h:mm:ss` from an hour on."""
    minutes, second = divmod(round(max(seconds, 0)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute}:{second:02d}"

"""Writing so that a kill at any moment leaves either the old file or the new one, never half of one."""

import errno
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from icrl.errors import UsageError

_under_way: set[Path] = set()


def sync(path: Path) -> None:
    """Flushes a file, or a folder with all that is in it, to the disk."""
    if path.is_dir():
        for child in path.iterdir():
            sync(child)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def commit(temporary: Path, final: Path) -> None:
    """Gives a finished temporary file or folder of the same file system its final name: the commit point.

    A folder that already has the final name is moved away before it is removed; a file is replaced atomically.
    """
    sync(temporary)
    if final.is_dir():
        old = final.with_name(f".{final.name}.partial-replaced")
        remove(old)
        os.replace(final, old)
        os.replace(temporary, final)
        remove(old)
    else:
        os.replace(temporary, final)
    sync_entry(final)


def sync_entry(path: Path) -> None:
    """Flushes the folder's entry for `path`, so that a rename outlives a power cut."""
    descriptor = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def temporary_name(final: Path) -> Path:
    """The name that `final` has while it is being written, beside it."""
    return final.with_name(f".{final.name}.partial-{os.getpid()}")


@contextmanager
def partial(temporary: Path) -> Iterator[Path]:
    """What is written under this name, a file or a folder, is gone at the end unless it has got another by then."""
    _under_way.add(temporary)
    try:
        yield temporary
    finally:
        remove(temporary)
        _under_way.discard(temporary)


def drop_partials() -> None:
    """Removes what is being written, for a process that ends at once."""
    for path in tuple(_under_way):
        remove(path)


def remove(path: Path) -> None:
    """Removes a file or a folder, as far as it is there and can be removed."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Gives a name to write a file under, which becomes `path` at the end; an error leaves what was there.

    Raises:
        OSError: with `path` as its file name, which the message of a library that writes may lack.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial(temporary_name(path)) as temporary:
            yield temporary
            commit(temporary, path)
    except OSError as error:
        code = errno.ENOTDIR if error.errno == errno.EEXIST else error.errno
        raise OSError(code, os.strerror(code), str(path)) if code else error from None


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a whole file, or leaves what was there (also where the disk is full)."""
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def json_text(value: Any) -> str:
    """`value` as indented JSON; refuses NaN, which is not JSON."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """`value` as `json_text`, written atomically."""
    write_atomically(path, json_text(value))


def check_writable(out: Path) -> None:
    """Raises UsageError where a command cannot write into the folder `out`, which may be still to be made."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} is a file: expected a folder, or a name for a new one")
    there = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not there.is_dir():
        raise UsageError(f"--out {out} cannot be made: {there} is a file; give another folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"--out {out} cannot be written: {there} lets this user write nothing; give another folder")


def size_in_words(count: float) -> str:
    """A number of bytes: "3.1 MB", "40 kB"."""
    return f"{count / 1e6:,.1f} MB" if count >= 1e5 else f"{count / 1e3:,.0f} kB"

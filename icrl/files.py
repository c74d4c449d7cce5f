"""Writing so that a kill at any moment leaves either the old file or the new one, never half of one."""

import json
import os
import shutil
from pathlib import Path
from typing import Any


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

    A folder that already has the final name is replaced; a file is replaced atomically.
    """
    sync(temporary)
    if final.is_dir():
        shutil.rmtree(final)
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


def write_atomically(path: Path, content: str | bytes) -> None:
    """Writes a whole file, or leaves what was there (also where the disk is full)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        commit(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON, written atomically; refuses NaN, which is not JSON."""
    write_atomically(path, json.dumps(value, indent=2, allow_nan=False) + "\n")

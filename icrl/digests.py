"""Whether files are still the bytes that were written: their sizes and SHA-256, stored beside them.

A folder's `digests.json` holds them by name; a dataset and a checkpoint keep them in their `state.json`, key "files".
"""

import hashlib
import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from icrl.schema import Fault, fields_of, integer, map_of, read_json, text

DIGESTS_FILE = "digests.json"

Digests = Mapping[str, Mapping[str, Any]]
"""Name within the folder → {"bytes": …, "sha256": …}."""

_DIGEST = fields_of({"bytes": integer(0), "sha256": text})
SCHEMA = map_of(_DIGEST)


class HashingFile(io.RawIOBase):
    """A new file that is hashed as it is written, so that it need not be read again."""

    def __init__(self, path: Path) -> None:
        self._file, self._hash, self._size = open(path, "wb", buffering=0), hashlib.sha256(), 0  # noqa: SIM115

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        left = memoryview(data).cast("B")
        self._hash.update(left)
        self._size += len(left)
        while len(left):
            left = left[self._file.write(left) :]
        return memoryview(data).nbytes

    def close(self) -> None:
        self._file.close()
        super().close()

    @property
    def digest(self) -> dict[str, Any]:
        """Of what has been written so far."""
        return {"bytes": self._size, "sha256": self._hash.hexdigest()}


def digest_of(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        return {"bytes": path.stat().st_size, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def digest_of_text(content: str) -> dict[str, Any]:
    """Of a file that is still to be written."""
    data = content.encode()
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def read_digests(folder: Path, names: Iterable[str]) -> Digests | None:
    """What the folder's `digests.json` says; None where there is none: older releases wrote none.

    Raises:
        Fault: where it cannot be read, or leaves one of these names out.
    """
    try:
        digests = read_json(folder / DIGESTS_FILE)
        SCHEMA(digests, "it")
        for name in names:
            if name not in digests:
                raise Fault(f"it leaves out {name}")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Fault as fault:
        raise Fault(f"{DIGESTS_FILE} is damaged: {fault}") from None
    return digests


def read_digest(path: Path) -> dict[str, Any] | None:
    """The digest that is alone in a file; None where there is none that can be read."""
    try:
        digest = read_json(path)
        _DIGEST(digest, "it")
    except (OSError, Fault):
        return None
    return digest


def check_sizes(folder: Path, digests: Digests) -> None:
    """Raises Fault where a file is not there, or has another size than it was written with."""
    for name, digest in digests.items():
        if not (folder / name).is_file():
            raise Fault(f"{name} is not there")
        if (size := (folder / name).stat().st_size) != digest["bytes"]:
            raise Fault(f"{name} has {size:,} bytes, {digest['bytes']:,} were written")


def check_digests(folder: Path, digests: Digests) -> None:
    """Raises Fault where a file is not there, or not what was written."""
    check_sizes(folder, digests)
    for name, digest in digests.items():
        if digest_of(folder / name) != digest:
            raise Fault(f"{name} is not the file that was written: its SHA-256 is another")

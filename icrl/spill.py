"""Rows that do not fit into memory: a temporary file beside the dataset, and columns that are read back from it.

Legend: N lanes, B blocks, M rows of all lanes.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

BOUND = 1 << 25
"""Bytes of rows that a tape holds before it writes them to the file."""

CHUNK = 1 << 22
"""Bytes of a column that are read back at once, at least, and twice that at most where no lane has more in a block."""


class Spill:
    """A temporary file that has no name, so that nothing of it is left when the process ends, however it ends.

    It is made when the first rows are written to it, and gone when it is closed.

    Args:
        folder: where it lies: beside what is made of it, since the system's folder for such files may be memory.
        bound: bytes of rows that are held in memory before they are written.
    """

    def __init__(self, folder: Path, bound: int = BOUND) -> None:
        self._folder, self.bound = folder, bound
        self._file: IO[bytes] | None = None
        self._size = 0

    def __enter__(self) -> "Spill":
        return self

    def __exit__(self, *of: Any) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, values: NDArray) -> int:
        """Appends an array's bytes; returns where they begin."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        place, left = self._size, memoryview(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
        self._file.seek(place)
        self._size += len(left)
        while len(left):
            left = left[self._file.write(left) :]
        return place

    def read_into(self, place: int, values: NDArray) -> None:
        """Fills a contiguous array with the bytes that begin there."""
        left = memoryview(values.reshape(-1).view(np.uint8))
        self._file.seek(place)
        while len(left):
            if not (count := self._file.readinto(left)):
                raise OSError(f"a temporary file in {self._folder} ends early: free some space, and begin again")
            left = left[count:]


class SpilledColumn:
    """A column of `(M, …)` in a `Spill`, written in blocks that each have some rows of every lane, lane after lane.

    Args:
        counts_BN: rows of each lane in each block.
        places: where each block begins in the file.
    """

    def __init__(
        self, spill: Spill, dtype: DTypeLike, row_shape: tuple[int, ...], counts_BN: NDArray, places: list[int]
    ) -> None:
        self.dtype, self._row_shape = np.dtype(dtype), row_shape
        self.shape = (int(counts_BN.sum()), *row_shape)
        self._spill, self._counts_BN = spill, counts_BN
        self._bytes_a_row = int(np.prod(row_shape)) * self.dtype.itemsize
        starts_BN = np.cumsum(counts_BN, axis=1) - counts_BN
        self._places_BN = np.array(places, np.int64)[:, None] + starts_BN * self._bytes_a_row

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, name: str) -> "SpilledColumn":
        """Of a column of trees one part."""
        return SpilledPart(self, name)

    def chunks(self) -> Iterator[NDArray]:
        """The column from its first row to its last, in arrays of `(rows, …)`."""
        pieces: list[tuple[int, int]] = []
        held = 0
        for place, count in zip(self._places_BN.T.flat, self._counts_BN.T.flat, strict=True):
            rows_at_once = max(1, CHUNK // max(1, self._bytes_a_row))
            for first in range(0, int(count), rows_at_once):
                pieces.append((int(place) + first * self._bytes_a_row, min(rows_at_once, int(count) - first)))
                held += pieces[-1][1]
                if held >= rows_at_once:
                    yield self._read(pieces, held)
                    pieces, held = [], 0
        if held:
            yield self._read(pieces, held)

    def _read(self, pieces: list[tuple[int, int]], rows: int) -> NDArray:
        values, done = np.empty((rows, *self._row_shape), self.dtype), 0
        for place, count in pieces:
            self._spill.read_into(place, values[done : done + count])
            done += count
        return values


class SpilledPart(SpilledColumn):
    """A part of a column of trees, read from it."""

    def __init__(self, column: SpilledColumn, name: str) -> None:
        self._column, self._name = column, name
        part = column.dtype[name]
        self.dtype, self.shape = part.base, (len(column), *part.shape)

    def chunks(self) -> Iterator[NDArray]:
        for chunk in self._column.chunks():
            yield chunk[self._name]

"""Rows of a batch of lanes as they come, put together lane by lane: in memory, or block by block in a file.

Legend: T steps, N lanes, M rows of all lanes, B blocks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from einops import rearrange
from numpy.typing import DTypeLike, NDArray

from icrl.spill import Spill, SpilledColumn

OVERHEAD = 128
"""Bytes of a small array beyond its numbers, and of its place in a list."""

Kind = tuple[DTypeLike, tuple[int, ...]]
"""Of a column: the type of its numbers, and the shape of a row."""

Check = Callable[[int, NDArray[np.int64], NDArray], None]
"""Looks at the values `(M, …)` of a column before they are kept: its number, the rows of each lane, the values."""


@dataclass
class _Stretch:
    """Rows in which the same lanes stood in the batch."""

    lanes: NDArray[np.int64]
    bytes_a_step: int
    masks: list[NDArray[np.bool_]] = field(default_factory=list)
    columns: list[list[NDArray]] = field(default_factory=list)


class Rows:
    """Rows of a batch that shrinks, `(M, …)` each, with a mask of the lanes that they count for.

    Args:
        kinds: of the columns.
        spill: where rows go when they are more than its bound; None keeps all of them in memory.
        check: called with every column, or with every block of it.
    """

    def __init__(
        self, num_lanes: int, kinds: Sequence[Kind], spill: Spill | None = None, check: Check | None = None
    ) -> None:
        self._num_lanes, self._kinds = num_lanes, kinds
        self._spill, self._check = spill, check
        self._stretches: list[_Stretch] = []
        self._held = 0
        self._counts: list[NDArray[np.int64]] = []
        self._places: list[list[int]] = [[] for _ in kinds]

    def append(self, lanes: NDArray[np.int64], mask: NDArray[np.bool_], *row: NDArray) -> None:
        """One row of each of these lanes; those for which `mask` is false are not kept.

        Args:
            lanes: places in the whole batch, rising; the same array as long as they are the same lanes.
            row: a value of each column, `(number of lanes, …)`.
        """
        if not self._stretches or self._stretches[-1].lanes is not lanes:
            size = sum(values.nbytes for values in row) + mask.nbytes + OVERHEAD * (len(row) + 1)
            self._stretches.append(_Stretch(lanes, size, columns=[[] for _ in self._kinds]))
        stretch = self._stretches[-1]
        stretch.masks.append(mask)
        for column, values in zip(stretch.columns, row, strict=True):
            column.append(values)
        self._held += stretch.bytes_a_step
        if self._spill is not None and self._held > self._spill.bound:
            self._flush(self._spill)

    def lane_major(self) -> tuple[NDArray[np.int64], list[NDArray | SpilledColumn]]:
        """How many rows each lane has, `(N,)`; and each column with the lanes one after the other, `(M, …)`.

        That is Arrow's own layout of a list per history. No row is held any more.
        """
        if self._spill is None or not self._counts:
            lengths, columns = self._put_together()
            return lengths, list(columns)
        if self._stretches:
            self._flush(self._spill)
        counts_BN = np.stack(self._counts)
        return counts_BN.sum(axis=0), [
            SpilledColumn(self._spill, *kind, counts_BN, places)
            for kind, places in zip(self._kinds, self._places, strict=True)
        ]

    def _flush(self, spill: Spill) -> None:
        """Writes what is held as one more block."""
        counts, columns = self._put_together()
        self._counts.append(counts)
        for places, values in zip(self._places, columns, strict=True):
            places.append(spill.write(values))

    def _put_together(self) -> tuple[NDArray[np.int64], Iterator[NDArray]]:
        """The rows held, as `lane_major` gives them; a column is put together when it is asked for, and let go."""
        stretches, self._stretches, self._held = self._stretches, [], 0
        masks = [np.stack(stretch.masks) for stretch in stretches]
        lengths = np.zeros(self._num_lanes, np.int64)
        for stretch, mask_TN in zip(stretches, masks, strict=True):
            lengths[stretch.lanes] += mask_TN.sum(axis=0)
        return lengths, self._columns(stretches, masks, lengths)

    def _columns(
        self, stretches: list[_Stretch], masks: list[NDArray[np.bool_]], lengths: NDArray[np.int64]
    ) -> Iterator[NDArray]:
        # Where all lanes have all rows, the common case, no lane is touched by itself.
        is_whole = len(masks) == 1 and masks[0].shape[1] == self._num_lanes and bool(masks[0].all())
        pieces = [] if is_whole else _pieces(stretches, masks)
        for number, (dtype, row_shape) in enumerate(self._kinds):
            stacks = []
            for stretch in stretches:
                stacks.append(np.stack(stretch.columns[number]))
                # Free the rows as they are copied: a batch of long histories is most of the memory.
                stretch.columns[number].clear()
            if not stacks:
                values = np.zeros((0, *row_shape), dtype)
            elif is_whole:
                values = rearrange(stacks[0], "t n ... -> (n t) ...")
            else:
                values = np.concatenate([stacks[which][rows, place] for which, rows, place in pieces])
            if self._check is not None:
                self._check(number, lengths, values)
            yield values


def _pieces(
    stretches: list[_Stretch], masks: list[NDArray[np.bool_]]
) -> list[tuple[int, slice | NDArray[np.bool_], int]]:
    """What a column is made of, in order: (stretch, its rows that count for the lane, the lane's place in it)."""
    pieces, lanes = [], []
    for which, (stretch, mask_TN) in enumerate(zip(stretches, masks, strict=True)):
        # Rows up to some row, unless a lane counts again after it did not: a slice is copied faster.
        is_slice = not (mask_TN[1:] & ~mask_TN[:-1]).any()
        for place, count in enumerate(mask_TN.sum(axis=0).tolist()):
            pieces.append((which, slice(count) if is_slice else mask_TN[:, place], place))
        lanes.append(stretch.lanes)
    return [pieces[i] for i in np.argsort(np.concatenate(lanes), kind="stable")]

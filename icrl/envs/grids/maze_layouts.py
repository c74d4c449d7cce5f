"""Mazes as arrays: random ones, as text, and how far every cell is from a goal. All functions work on many at once.

A maze has an odd number of cells along a side. Cells with two odd coordinates are rooms; a maze opens some of the
cells between neighbouring rooms, and all others are walls. Suffixes: N mazes, S cells along a side, R = (S - 1) / 2
rooms along a side.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from icrl.seeding import Streams

WALL, FREE = "#", "."
FAR = np.iinfo(np.int32).max
"""The distance of a cell from which there is no way."""


def random_mazes(streams: Streams, size: int, opened: float = 0.0) -> NDArray[np.bool_]:
    """Where one can stand, shape `(N, S, S)`: a maze per stream, by depth-first search with a random next room.

    Every two rooms have exactly one way between them, which tends to be long (the recursive backtracker).

    Args:
        streams: N; each draws the same number of times.
        size: cells along a side, odd.
        opened: the share of the walls between neighbouring rooms that is opened afterwards, which makes loops; at
            least one is where it is above 0.
    """
    rooms, num_mazes = size // 2, len(streams)
    lane_N = np.arange(num_mazes)
    free_NSS = np.zeros((num_mazes, size, size), bool)
    # A frame of visited rooms stands for the border.
    visited_NRR = np.ones((num_mazes, rooms + 2, rooms + 2), bool)
    visited_NRR[:, 1:-1, 1:-1] = False
    start_N = (streams.uniform() * rooms**2).astype(np.int64)
    row_N, column_N = start_N // rooms, start_N % rooms
    visited_NRR[lane_N, row_N + 1, column_N + 1] = True
    free_NSS[lane_N, 2 * row_N + 1, 2 * column_N + 1] = True
    way_ND, depth_N = np.zeros((num_mazes, rooms**2), np.int64), np.zeros(num_mazes, np.int64)
    way_ND[:, 0] = start_N
    down_4, right_4 = np.array([-1, 0, 1, 0]), np.array([0, 1, 0, -1])
    # Every room is entered once and left once.
    for _ in range(2 * (rooms**2 - 1)):
        new_N4 = ~visited_NRR[lane_N[:, None], row_N[:, None] + 1 + down_4, column_N[:, None] + 1 + right_4]
        count_N4 = new_N4.cumsum(axis=1)
        pick_N = (streams.uniform() * count_N4[:, -1]).astype(np.int64)
        direction_N = (count_N4 <= pick_N[:, None]).sum(axis=1)
        on = np.flatnonzero(count_N4[:, -1])
        down, right = down_4[direction_N[on]], right_4[direction_N[on]]
        free_NSS[on, 2 * row_N[on] + 1 + down, 2 * column_N[on] + 1 + right] = True
        row_N[on] += down
        column_N[on] += right
        free_NSS[on, 2 * row_N[on] + 1, 2 * column_N[on] + 1] = True
        visited_NRR[on, row_N[on] + 1, column_N[on] + 1] = True
        depth_N[on] += 1
        way_ND[on, depth_N[on]] = row_N[on] * rooms + column_N[on]
        back = np.flatnonzero((count_N4[:, -1] == 0) & (depth_N > 0))
        depth_N[back] -= 1
        row_N[back], column_N[back] = np.divmod(way_ND[back, depth_N[back]], rooms)
    if opened:
        _open(free_NSS, streams, opened)
    return free_NSS


def _open(free_NSS: NDArray[np.bool_], streams: Streams, share: float) -> None:
    """Opens that share of the cells between two rooms, drawn among all of them, and at least one wall of each maze."""
    row_E, column_E = np.nonzero(np.add.outer(*2 * [np.arange(free_NSS.shape[1])]) % 2)
    inner_E = (np.minimum(row_E, column_E) > 0) & (np.maximum(row_E, column_E) < free_NSS.shape[1] - 1)
    row_E, column_E = row_E[inner_E], column_E[inner_E]
    draw_NE = np.where(free_NSS[:, row_E, column_E], 1.0, streams.uniform_block(len(row_E)).T)
    opened_NE = (draw_NE < share) | (draw_NE == draw_NE.min(axis=1, keepdims=True))
    free_NSS[:, row_E, column_E] |= opened_NE


def to_text(free_NSS: NDArray[np.bool_]) -> list[str]:
    """Each maze as its rows, "#" for a wall and "." for a cell to stand in, with "/" between the rows."""
    num_mazes, size, _ = free_NSS.shape
    text_NSS = np.full((num_mazes, size, size + 1), b"/", "S1")
    text_NSS[:, :, :-1] = np.where(free_NSS, FREE.encode(), WALL.encode())
    text, length = text_NSS.tobytes().decode(), size * (size + 1)
    return [text[n * length : (n + 1) * length - 1] for n in range(num_mazes)]


def from_text(texts: Sequence[str]) -> NDArray[np.bool_]:
    """The inverse of `to_text`; smaller mazes have more wall at the bottom and on the right."""
    sizes = [text.index("/") for text in texts]
    free_NSS = np.zeros((len(texts), max(sizes, default=1), max(sizes, default=1)), bool)
    for free_SS, text, size in zip(free_NSS, texts, sizes, strict=True):
        rows = np.frombuffer((text + "/").encode(), "S1").reshape(size, size + 1)
        free_SS[:size, :size] = rows[:, :-1] == FREE.encode()
    return free_NSS


def distances(free_NSS: NDArray[np.bool_], goal_N2: NDArray[np.int64]) -> NDArray[np.int32]:
    """Steps from every cell to the goal, shape `(N, S, S)`; FAR where there is no way, as from inside a wall."""
    reached_NSS = np.zeros_like(free_NSS)
    reached_NSS[np.arange(len(free_NSS)), goal_N2[:, 0], goal_N2[:, 1]] = True
    distance_NSS = np.where(reached_NSS, 0, FAR).astype(np.int32)
    for steps in range(1, free_NSS[0].size if len(free_NSS) else 0):
        new_NSS = neighbours(reached_NSS) & free_NSS & ~reached_NSS
        if not new_NSS.any():
            break
        distance_NSS[new_NSS] = steps
        reached_NSS |= new_NSS
    return distance_NSS


def neighbours(cell_NSS: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The cells above, below, to the left and to the right of these; mazes have walls all around."""
    near_NSS = np.zeros_like(cell_NSS)
    near_NSS[:, 1:] |= cell_NSS[:, :-1]
    near_NSS[:, :-1] |= cell_NSS[:, 1:]
    near_NSS[:, :, 1:] |= cell_NSS[:, :, :-1]
    near_NSS[:, :, :-1] |= cell_NSS[:, :, 1:]
    return near_NSS


def nth_cell(free_NSS: NDArray[np.bool_], rank_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """(row, column) of the cell with that number among a maze's free ones, row by row: shape `(N, 2)`."""
    count_NC = free_NSS.reshape(len(free_NSS), -1).cumsum(axis=1)
    return np.stack(np.divmod((count_NC <= rank_N[:, None]).sum(axis=1), free_NSS.shape[1]), axis=1)


def rank_of(free_NSS: NDArray[np.bool_], cell: tuple[int, int]) -> NDArray[np.int64]:
    """The inverse of `nth_cell`, of one cell that is free in all mazes: shape `(N,)`."""
    before = cell[0] * free_NSS.shape[1] + cell[1]
    return free_NSS.reshape(len(free_NSS), -1)[:, :before].sum(axis=1)

"""Mazes side by side, one per lane, with a margin of walls as wide as the agent sees; and the way through them.

Cells are numbered row by row in the array with its margin. Suffixes: N lanes, C cells, A actions, K cells of a window.
"""

import numpy as np
from numpy.typing import NDArray

from icrl.envs.grids.cells import NUM_ACTIONS, STAY
from icrl.envs.grids.maze_layouts import distances, neighbours
from icrl.lanes import PerLane
from icrl.seeding import stream_keys

FREE_CELL, WALL_CELL, GOAL_CELL = range(3)
"""What a window shows of a cell."""


class MazeMap(PerLane):
    """Where one can go in the mazes, and what one sees there.

    Args:
        free_NSS: where one can stand, shape `(N, S, S)`.
        goal_N2, start_N2: (row, column), shape `(N, 2)`.
        view: cells that are seen in every direction.
        show_goal: whether the goal is.
    """

    per_lane = ("free_NWW", "goal_N", "start_N", "_first_N", "_goal_N2", "_distance_NC")
    lane_counters = ("lane_N",)

    def __init__(
        self, free_NSS: NDArray[np.bool_], goal_N2: NDArray, start_N2: NDArray, view: int, show_goal: bool
    ) -> None:
        self.margin = view
        self.width = width = free_NSS.shape[1] + 2 * view
        self.num_cells = width * width
        self.lane_N = np.arange(len(free_NSS))
        self.free_NWW = np.pad(free_NSS, ((0, 0), (view, view), (view, view)))
        self.goal_N, self.start_N = ((cell_N2 + view) @ np.array([width, 1]) for cell_N2 in (goal_N2, start_N2))
        code_NC = np.where(self.free_NWW, FREE_CELL, WALL_CELL).astype(np.uint8).reshape(self.num_lanes, -1)
        # One array of all lanes: indexing it is faster than indexing lanes and cells.
        self._first_N = self.lane_N * self.num_cells
        self._free = code_NC.reshape(-1) != WALL_CELL
        if show_goal:
            code_NC[self.lane_N, self.goal_N] = GOAL_CELL
        self._code = code_NC.reshape(-1)
        self._move_A = np.array([-width, 1, width, -1, 0])
        across = np.arange(-view, view + 1)
        self._window_K = (across[:, None] * width + across).reshape(-1)
        self._goal_N2 = goal_N2 + view
        self._distance_NC: NDArray[np.int32] | None = None

    @property
    def num_lanes(self) -> int:
        return len(self.lane_N)

    @property
    def distance_NC(self) -> NDArray[np.int32]:
        """Steps from every cell to the goal, shape `(N, C)`."""
        if self._distance_NC is None:
            self._distance_NC = distances(self.free_NWW, self._goal_N2).reshape(self.num_lanes, -1)
        return self._distance_NC

    def step(self, cell_N: NDArray[np.int64], actions: NDArray) -> NDArray[np.int64]:
        """The cells that the actions lead to; a move into a wall stays where it is."""
        there_N = cell_N + self._move_A[actions]
        return np.where(self._free[self._first_N + there_N], there_N, cell_N)

    def window(self, cell_N: NDArray[np.int64]) -> NDArray[np.int64]:
        """What is seen from these cells, shape `(N, K)`, row by row."""
        return self._code[(self._first_N + cell_N)[:, None] + self._window_K].astype(np.int64)

    def next_cells(self) -> NDArray[np.int64]:
        """The cell that each action leads to from each cell, shape `(N, C, A)`; from a wall nowhere."""
        free_NC = self.free_NWW.reshape(self.num_lanes, -1)
        cell_C = np.arange(self.num_cells)
        # From the margin's rim a move would leave the array, and no one stands there.
        there_CA = np.clip(cell_C[:, None] + self._move_A, 0, self.num_cells - 1)
        return np.where(free_NC[:, :, None] & free_NC[:, there_CA], there_CA, cell_C[:, None])

    def looks(self, weight_K: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Σ_k weight_k · seen_k for every cell, shape `(N, C)`; 0 for walls, where no one stands."""
        look = np.zeros(len(self._code), np.uint64)
        free = np.flatnonzero(self._free)
        for weight, offset in zip(weight_K, self._window_K, strict=True):
            look[free] += weight * self._code[free + offset].astype(np.uint64)
        return look.reshape(-1, self.num_cells)[self._first_N // self.num_cells]

    def replay(self, actions: NDArray, dones: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(row, column) before each of a single lane's actions, and where its episodes end."""
        cells, ends, cell_N = [], [], self.start_N
        for action, done in zip(np.asarray(actions), dones, strict=True):
            cells.append(cell_N[0])
            cell_N = self.step(cell_N, np.array([action]))
            if done:
                ends.append(cell_N[0])
                cell_N = self.start_N
        places = (np.stack(np.divmod(np.array(some), self.width), axis=1) - self.margin for some in (cells, ends))
        return next(places), next(places)


class WayThroughMaze(PerLane):
    """The optimal policy of a known maze: the shortest way to the goal, then stay.

    It need not have chosen the actions itself: noise may replace some. It keeps every cell that some actions could
    have led to and that looks like what is seen; among several it takes the one that its own action led to, if that is
    one of them.
    """

    per_lane = ("_map", "_look_NC", "_best_NC", "_free_NC", "_cell_N", "_may_be_NC")

    def __init__(self, maze: MazeMap) -> None:
        self._map = maze
        window = (2 * maze.margin + 1) ** 2
        # Random weights tell windows apart: two that differ agree in their sum of 64 bits once in 2^64.
        self._weight_K = stream_keys(0, "maze windows", np.arange(window)) | np.uint64(1)
        self._look_NC = maze.looks(self._weight_K)
        distance_NC = maze.distance_NC
        next_NCA = maze.next_cells()
        best_NC = np.full(distance_NC.shape, STAY, np.int8)
        least_NC = distance_NC.copy()
        for action in range(NUM_ACTIONS):
            there_NC = np.take_along_axis(distance_NC, next_NCA[..., action], axis=1)
            best_NC[there_NC < least_NC] = action
            least_NC = np.minimum(least_NC, there_NC)
        self._best_NC = best_NC
        self._free_NC = maze.free_NWW.reshape(maze.num_lanes, -1)
        self._cell_N = maze.start_N.copy()
        self._may_be_NC = np.zeros(self._free_NC.shape, bool)
        self._restart(maze.lane_N)

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        look_N = np.zeros(len(observations), np.uint64)
        for weight, seen_N in zip(self._weight_K, observations.T.astype(np.uint64), strict=True):
            look_N += weight * seen_N
        self._may_be_NC &= self._look_NC == look_N[:, None]
        lost = np.flatnonzero(~self._may_be_NC[self._map.lane_N, self._cell_N])
        self._cell_N[lost] = self._may_be_NC[lost].argmax(axis=1)
        action_N = self._best_NC[self._map.lane_N, self._cell_N].astype(np.int64)
        self._cell_N = self._map.step(self._cell_N, action_N)
        square = self._may_be_NC.reshape(-1, self._map.width, self._map.width)
        self._may_be_NC |= neighbours(square).reshape(self._may_be_NC.shape) & self._free_NC
        return action_N

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """A new episode starts where every one does."""
        self._restart(np.flatnonzero(terminated | truncated))

    def _restart(self, lanes: NDArray[np.int64]) -> None:
        self._cell_N[lanes] = self._map.start_N[lanes]
        self._may_be_NC[lanes] = False
        self._may_be_NC[lanes, self._map.start_N[lanes]] = True

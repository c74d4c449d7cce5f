"""MiniGrid's rules and partial view for many lanes at once, in NumPy: step for step those of the minigrid package."""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
from minigrid.core.actions import Actions
from minigrid.core.constants import DIR_TO_VEC
from numpy.typing import NDArray

from icrl.envs.kit.base import BatchedEnv
from icrl.envs.mini_grid.layouts import (
    CHANNELS_C3,
    CLOSED,
    COLOUR_C,
    EMPTY,
    IS,
    LOCKED,
    NUM_COLOURS,
    NUM_KINDS,
    NUM_STATES,
    OPEN,
    STATE_C,
    UNSEEN,
    WALL,
    Layout,
)

VIEW = 7
"""The agent sees 7×7 cells: those ahead, with itself in the middle of the last row."""
EDGE = VIEW - 1
"""Cells of wall around a grid, so that a view never leaves the array."""
AGENT_CELL = (VIEW // 2) * VIEW + VIEW - 1
PASSABLE_C = IS["empty"] | IS["goal"] | IS["lava"] | IS["floor"] | (IS["door"] & (STATE_C == OPEN))
PICKABLE_C = IS["key"] | IS["ball"] | IS["box"]
SEE_BEHIND_C = ~(IS["wall"] | (IS["door"] & (STATE_C != OPEN)))

OBSERVATION_SPACE = gym.spaces.MultiDiscrete([NUM_KINDS, NUM_COLOURS, NUM_STATES] * VIEW**2 + [4])
"""Of each cell of the view, column by column, its kind, colour and state; then the direction that the agent faces."""


def padded(layouts: Sequence[Layout]) -> tuple[NDArray[np.uint8], int]:
    """The layouts' cells in one array `(N, cells)`, row by row with walls around; and the length of a row."""
    stride = max(layout.codes.shape[0] for layout in layouts) + 2 * EDGE
    rows = max(layout.codes.shape[1] for layout in layouts) + 2 * EDGE
    grid_NYX = np.full((len(layouts), rows, stride), WALL, np.uint8)
    for grid_YX, layout in zip(grid_NYX, layouts, strict=True):
        width, height = layout.codes.shape
        grid_YX[EDGE : EDGE + height, EDGE : EDGE + width] = layout.codes.T
    return grid_NYX.reshape(len(layouts), -1), stride


def flat(cell: tuple[int, int], stride: int) -> int:
    """Index of a cell (column, row) in a padded grid."""
    return (cell[1] + EDGE) * stride + cell[0] + EDGE


class View:
    """What the agent sees.

    Args:
        stride: length of a row of the padded grids.
    """

    def __init__(self, stride: int) -> None:
        forward_D2 = np.array(DIR_TO_VEC)
        right_D2 = np.stack((-forward_D2[:, 1], forward_D2[:, 0]), axis=1)
        column, row = np.divmod(np.arange(VIEW**2), VIEW)
        cells_DV2 = forward_D2[:, None] * (VIEW - 1 - row)[:, None] + right_D2[:, None] * (column - VIEW // 2)[:, None]
        self._offset_DV = cells_DV2[..., 0] + cells_DV2[..., 1] * stride

    def __call__(
        self,
        grid_NC: NDArray[np.uint8],
        lanes_P: NDArray[np.int64],
        at_P: NDArray[np.int64],
        direction_P: NDArray[np.int64],
        carrying_P: NDArray[np.uint8],
        see_through_P: NDArray[np.bool_],
    ) -> NDArray[np.int64]:
        """Observations, shape `(P, 148)`, of agents in these lanes of the grids, at these cells."""
        codes_PV = grid_NC[lanes_P[:, None], at_P[:, None] + self._offset_DV[direction_P]]
        if not see_through_P.all():
            seen_PV = _visible(SEE_BEHIND_C[codes_PV]) | see_through_P[:, None]
            codes_PV = np.where(seen_PV, codes_PV, np.uint8(UNSEEN))
        codes_PV[:, AGENT_CELL] = carrying_P
        observations = np.empty((len(at_P), 3 * VIEW**2 + 1), np.int64)
        observations[:, :-1] = CHANNELS_C3[codes_PV].reshape(len(at_P), -1)
        observations[:, -1] = direction_P
        return observations


def _row_tables() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """How light spreads in one row of the view: bits of the cells that it enters from, and of the transparent ones,
    to bits of the cells that are lit, and of those lit in the row beyond."""
    lit_ET, beyond_ET = np.zeros((2, 2**VIEW, 2**VIEW), np.uint8)
    for entered in range(2**VIEW):
        for clear in range(2**VIEW):
            lit, beyond = entered, 0
            for cell, towards in (*((i, 1) for i in range(VIEW - 1)), *((i, -1) for i in range(VIEW - 1, 0, -1))):
                if lit >> cell & 1 and clear >> cell & 1:
                    lit |= 1 << cell + towards
                    beyond |= 1 << cell + towards | 1 << cell
            lit_ET[entered, clear], beyond_ET[entered, clear] = lit, beyond
    return lit_ET, beyond_ET


_LIT, _BEYOND = _row_tables()
_BITS = np.arange(VIEW, dtype=np.uint8)


def _visible(clear_PV: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which cells of the view are seen, shape `(P, 49)`, given which can be seen through."""
    clear_PIJ = clear_PV.reshape(-1, VIEW, VIEW).astype(np.uint8)
    rows_PJ = (clear_PIJ << _BITS[:, None]).sum(axis=1, dtype=np.uint8)
    lit_PJ = np.empty_like(rows_PJ)
    entered_P = np.full(len(rows_PJ), 1 << VIEW // 2, np.uint8)
    for row in range(VIEW - 1, -1, -1):
        clear_P = rows_PJ[:, row]
        lit_PJ[:, row] = _LIT[entered_P, clear_P]
        entered_P = _BEYOND[entered_P, clear_P]
    return (lit_PJ[:, None, :] >> _BITS[:, None] & 1).astype(bool).reshape(-1, VIEW**2)


class MiniGridBatch(BatchedEnv):
    """One layout per lane; every episode of a lane starts from it.

    Args:
        layouts: N of them.
        horizon: steps after which an episode is truncated; also in the reward, 1 - 0.9 · steps / horizon.
        seed, index: as in `TaskFamily.make`; nothing is drawn at random.
    """

    per_lane = (
        "_first_NC", "_start_N", "_facing_N", "_target_N", "_pick_up_N", "_open_N", "_see_through_N",
        "_grid_NC", "_at_N", "_direction_N", "_carrying_N", "_seen_NO",
    )  # fmt: skip

    def __init__(self, layouts: Sequence[Layout], horizon: int, seed: int, index: Sequence[int] | None = None) -> None:
        super().__init__(OBSERVATION_SPACE, gym.spaces.Discrete(len(Actions)), len(layouts), horizon, seed, index)
        self._first_NC, stride = padded(layouts)
        self._view = View(stride)
        self._ahead_D = np.array([x + y * stride for x, y in DIR_TO_VEC])
        self._start_N = np.array([flat(layout.position, stride) for layout in layouts])
        self._facing_N = np.array([layout.direction for layout in layouts])
        self._target_N = np.array([flat(layout.target, stride) for layout in layouts])
        self._pick_up_N = np.array([layout.rule == "pick up" for layout in layouts])
        self._open_N = np.array([layout.rule == "open" for layout in layouts])
        self._see_through_N = np.array([layout.see_through for layout in layouts])
        self._stride = stride
        self._grid_NC = self._first_NC.copy()
        self._at_N, self._direction_N = self._start_N.copy(), self._facing_N.copy()
        self._carrying_N = np.full(len(layouts), EMPTY, np.uint8)
        self._seen_NO = np.zeros((len(layouts), len(OBSERVATION_SPACE.nvec)), np.int64)
        self._stale = self._all_lanes
        """Lanes that changed since they were looked at: where a few episodes end, only those are looked at again."""

    @property
    def cells(self) -> NDArray[np.int64]:
        """Column and row of every lane's agent, shape `(N, 2)`."""
        row, column = np.divmod(self._at_N, self._stride)
        return np.stack((column, row), axis=1) - EDGE

    def _start(self, lanes: NDArray[np.int64]) -> None:
        self._grid_NC[lanes] = self._first_NC[lanes]
        self._at_N[lanes] = self._start_N[lanes]
        self._direction_N[lanes] = self._facing_N[lanes]
        self._carrying_N[lanes] = EMPTY
        self._stale = lanes

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        front_N = self._at_N + self._ahead_D[self._direction_N]
        code_N = self._grid_NC[self._all_lanes, front_N]
        forward_N = (actions == Actions.forward) & PASSABLE_C[code_N]
        success_N = forward_N & IS["goal"][code_N]
        terminated_N = success_N | (forward_N & IS["lava"][code_N])
        self._at_N = np.where(forward_N, front_N, self._at_N)
        turn_N = (actions == Actions.right).astype(np.int64) - (actions == Actions.left)
        self._direction_N = (self._direction_N + turn_N) % 4

        hands_free_N = self._carrying_N == EMPTY
        picks_N = (actions == Actions.pickup) & PICKABLE_C[code_N] & hands_free_N
        drops_N = (actions == Actions.drop) & (code_N == EMPTY) & ~hands_free_N
        toggles_N = actions == Actions.toggle
        after_N = np.where(picks_N | (toggles_N & IS["box"][code_N]), np.uint8(EMPTY), code_N)
        after_N = np.where(drops_N, self._carrying_N, after_N)
        has_key_N = IS["key"][self._carrying_N] & (COLOUR_C[self._carrying_N] == COLOUR_C[code_N])
        door_N, state_N = toggles_N & IS["door"][code_N], STATE_C[code_N]
        opens_N = door_N & ((state_N == CLOSED) | ((state_N == LOCKED) & has_key_N))
        closes_N = door_N & (state_N == OPEN)
        after_N = np.where(opens_N, code_N - state_N, np.where(closes_N, code_N + CLOSED, after_N)).astype(np.uint8)
        self._grid_NC[self._all_lanes, front_N] = after_N
        self._carrying_N = np.where(picks_N, code_N, np.where(drops_N, np.uint8(EMPTY), self._carrying_N))

        self._stale = self._all_lanes
        at_target_N = front_N == self._target_N
        success_N |= at_target_N & ((picks_N & self._pick_up_N) | (opens_N & self._open_N))
        rewards = np.where(success_N, 1.0 - 0.9 * ((self.steps + 1) / self.horizon), 0.0)
        return rewards.astype(np.float32), terminated_N | success_N

    def _observe(self) -> NDArray[np.int64]:
        lanes = self._stale
        seen = self._view(
            self._grid_NC,
            lanes,
            self._at_N[lanes],
            self._direction_N[lanes],
            self._carrying_N[lanes],
            self._see_through_N[lanes],
        )
        if len(lanes) == self.num_envs:
            self._seen_NO = seen
        else:
            self._seen_NO = self._seen_NO.copy()
            self._seen_NO[lanes] = seen
        self._stale = lanes[:0]
        return self._seen_NO

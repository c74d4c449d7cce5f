"""The shortest way to the reward of a MiniGrid layout from every state, by breadth-first search backwards.

A state is where the agent stands, which way it faces, where the key is (on a cell or carried), and whether each door
is open, closed or locked. Letters in shapes: P states, S all states, C walkable cells, D doors.
"""

from dataclasses import dataclass

import numpy as np
from minigrid.core.actions import Actions
from minigrid.core.constants import DIR_TO_VEC
from numpy.typing import NDArray

from icrl.envs.mini_grid.layouts import CLOSED, COLOUR_C, EMPTY, IS, LOCKED, OPEN, STATE_C, WALL, Layout
from icrl.errors import UsageError

NUM_MOVES = int(Actions.done)
"""Every action but the last, which does nothing."""
SUCCESS, FAILURE = -1, -2
"""In place of a following state: the episode has ended."""
NONE = -1
SMALL = 50_000
"""Up to so many states, it keeps what follows from each rather than working it out again."""


@dataclass(frozen=True)
class States:
    """Some states of one layout, each field of shape `(P,)`, doors `(P, D)`."""

    cell: NDArray[np.int64]
    direction: NDArray[np.int64]
    key: NDArray[np.int64]
    """The place where the key lies, a number among `key_cells`; the number after the last where it is carried."""
    doors: NDArray[np.int64]


class ShortestWays:
    """All states of a layout, what follows from each, and the best action in each.

    Raises:
        UsageError: for a layout with more than one object that can be carried, besides the one to pick up.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        codes = layout.codes
        self.cells_C2 = np.argwhere(codes != WALL)
        number = np.full(codes.shape, NONE)
        number[tuple(self.cells_C2.T)] = np.arange(len(self.cells_C2))
        beyond_CD2 = self.cells_C2[:, None] + np.array(DIR_TO_VEC)
        inside = ((beyond_CD2 >= 0) & (beyond_CD2 < codes.shape)).all(axis=-1)
        self._ahead_CD = np.where(
            inside, number[tuple(np.moveaxis(np.where(inside[..., None], beyond_CD2, 0), -1, 0))], NONE
        )
        code_C = codes[tuple(self.cells_C2.T)]
        self._goal_C, self._lava_C = IS["goal"][code_C], IS["lava"][code_C]
        target = int(number[layout.target])
        self._wanted = target if layout.rule == "pick up" else NONE
        self._door_to_open = target if layout.rule == "open" else NONE
        keys = [
            c for c in np.flatnonzero(IS["key"][code_C] | IS["ball"][code_C] | IS["box"][code_C]) if c != self._wanted
        ]
        if len(keys) > 1 or not IS["key"][code_C[keys]].all():
            raise UsageError("a layout with more than one thing to carry has no shortest way here")
        self.key_code = int(code_C[keys[0]]) if keys else EMPTY
        self.key_cells = np.flatnonzero((code_C == EMPTY) | np.isin(np.arange(len(code_C)), keys))
        """Cells that may hold the key."""
        self._place_of_C = np.full(len(code_C), NONE)
        self._place_of_C[self.key_cells] = np.arange(len(self.key_cells))
        doors = np.flatnonzero(IS["door"][code_C])
        self.door_cells_D = doors
        self._door_of_C = np.full(len(code_C), NONE)
        self._door_of_C[doors] = np.arange(len(doors))
        self._fits_D = (COLOUR_C[code_C[doors]] == COLOUR_C[self.key_code]) & bool(keys)
        was_locked_D = STATE_C[code_C[doors]] == LOCKED
        sizes = (len(code_C), 4, len(self.key_cells) + 1 if keys else 1, *np.where(was_locked_D, 3, 2).tolist())
        self._sizes, self.num_states = sizes, int(np.prod(sizes))
        strides = np.cumprod((1, *sizes[:0:-1]))[::-1]
        self._of_cell, self._of_direction, self._of_key, self._of_door_D = *strides[:3], strides[3:]
        start = (
            number[layout.position],
            layout.direction,
            self._place_of_C[keys[0]] if keys else 0,
            *STATE_C[code_C[doors]],
        )
        self.start = int(np.ravel_multi_index(start, sizes))
        self._following_SA: NDArray[np.int32] | None = None
        self.action_S = self._search()

    def states(self, index_P: NDArray[np.int64]) -> States:
        """The states of these numbers."""
        cell, direction, key, *doors = np.unravel_index(index_P, self._sizes)
        return States(cell, direction, key, np.array(doors, np.int64).reshape(len(doors), len(index_P)).T)

    def following(self, index_P: NDArray[np.int64]) -> NDArray[np.int32]:
        """Numbers of the states that follow from each action, shape `(P, NUM_MOVES)`; SUCCESS or FAILURE at an end."""
        if self._following_SA is not None:
            return self._following_SA[index_P]
        now = self.states(index_P)
        front = self._ahead_CD[now.cell, now.direction]
        inside = front != NONE
        has_key = self.key_code != EMPTY
        place, carried = np.where(inside, self._place_of_C[front], NONE), len(self.key_cells)
        carries, key_ahead = (now.key == carried) & has_key, (now.key == place) & has_key
        door = np.where(inside, self._door_of_C[front], NONE)
        is_door = door != NONE
        if len(self.door_cells_D):
            state, fits, stride = now.doors[np.arange(len(door)), door], self._fits_D[door], self._of_door_D[door]
        else:
            state = fits = stride = np.zeros(len(door), np.int64)
        free = inside & ~key_ahead & (~is_door | (state == OPEN)) & (front != self._wanted)
        turns = is_door & ((state != LOCKED) | (carries & (fits != 0)))

        following_PA = np.empty((len(index_P), NUM_MOVES), np.int32)
        for action, happens, change in (
            (Actions.left, True, ((now.direction - 1) % 4 - now.direction) * self._of_direction),
            (Actions.right, True, ((now.direction + 1) % 4 - now.direction) * self._of_direction),
            (Actions.forward, free, (front - now.cell) * self._of_cell),
            (Actions.pickup, key_ahead, (carried - now.key) * self._of_key),
            (Actions.drop, carries & (place != NONE), (place - now.key) * self._of_key),
            (Actions.toggle, turns, (np.where(state == OPEN, CLOSED, OPEN) - state) * stride),
        ):
            following_PA[:, action] = index_P + np.where(happens, change, 0)
        following_PA[free & self._goal_C[front], Actions.forward] = SUCCESS
        following_PA[free & self._lava_C[front], Actions.forward] = FAILURE
        following_PA[inside & (front == self._wanted) & ~carries, Actions.pickup] = SUCCESS
        following_PA[turns & (state != OPEN) & (front == self._door_to_open), Actions.toggle] = SUCCESS
        return following_PA

    def _search(self) -> NDArray[np.int8]:
        """The best action in each state; the last one, which does nothing, where the reward is out of reach."""
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import breadth_first_order

        every = np.arange(self.num_states)
        following_SA = self.following(every)
        states, actions = np.nonzero((following_SA != FAILURE) & (following_SA != every[:, None]))
        after, end = following_SA[states, actions], self.num_states
        edges = (np.ones(len(after), np.int8), (np.where(after == SUCCESS, end, after), states.astype(np.int32)))
        graph = csr_array(edges, shape=(end + 1, end + 1))
        _, towards = breadth_first_order(graph, end, directed=True, return_predecessors=True)
        reached, next_S = towards[:-1] >= 0, np.where(towards[:-1] == end, SUCCESS, towards[:-1])
        if self.num_states <= SMALL:
            self._following_SA = following_SA
        best_S = (following_SA == next_S[:, None]).argmax(axis=1)
        return np.where(reached, best_S, Actions.done).astype(np.int8)

    def length(self) -> int | None:
        """Steps from the start to the reward; None where it is out of reach."""
        state, steps = self.start, 0
        while state != SUCCESS:
            action = int(self.action_S[state])
            if action == Actions.done:
                return None
            state, steps = int(self.following(np.array([state]))[0, action]), steps + 1
        return steps

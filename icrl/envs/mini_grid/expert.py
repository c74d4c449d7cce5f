"""The best policy of known MiniGrid layouts: it infers the state from what it sees, and goes the shortest way.

It need not have chosen the actions itself: noise may replace some. After every step it keeps each state that some
action could have led to and that looks like what is seen.
"""

from collections.abc import Sequence

import numpy as np
from minigrid.core.actions import Actions
from numpy.typing import NDArray

from icrl.envs.mini_grid.batch import View, flat, padded
from icrl.envs.mini_grid.layouts import EMPTY, IS
from icrl.envs.mini_grid.shortest_way import ShortestWays
from icrl.lanes import PerLane

MANY = 64
"""States that are kept at most, where many look alike."""


class ShortestWay(PerLane):
    """One lane per ways; lanes may share one.

    Args:
        ways: of the lanes' layouts.
    """

    per_lane = ("_ways", "_grid_NC", "_see_through_N", "_flat_NC", "_possible", "_begins_N")

    def __init__(self, ways: Sequence[ShortestWays]) -> None:
        self._ways = ways
        layouts = [ways.layout for ways in ways]
        self._grid_NC, self._stride = padded(layouts)
        # Things that move are put back where a state says they are.
        self._grid_NC[IS["key"][self._grid_NC]] = EMPTY
        self._view = View(self._stride)
        self._see_through_N = np.array([layout.see_through for layout in layouts])
        self._flat_NC = [np.array([flat((int(x), int(y)), self._stride) for x, y in ways.cells_C2]) for ways in ways]
        self._possible = [np.array([ways.start]) for ways in ways]
        self._begins_N = np.ones(len(ways), bool)

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        moving = np.flatnonzero(~self._begins_N)
        for lane, possible in zip(moving, self._consistent(moving, observations), strict=True):
            self._possible[lane] = possible
        self._begins_N[:] = False
        first = [int(possible[0]) for possible in self._possible]
        return np.array([ways.action_S[state] for ways, state in zip(self._ways, first, strict=True)], np.int64)

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        for lane in np.flatnonzero(terminated | truncated):
            self._possible[lane] = np.array([self._ways[lane].start])
            self._begins_N[lane] = True

    def _consistent(self, lanes: NDArray[np.int64], observations: NDArray) -> list[NDArray[np.int64]]:
        """The states that each of these lanes may be in, the likeliest first."""
        if not len(lanes):
            return []
        guesses = [self._guesses(lane, int(observations[lane, -1])) for lane in lanes]
        owner = np.repeat(lanes, [len(guess) for guess in guesses])
        looks_right = (self._seen(lanes, guesses, owner) == observations[owner]).all(axis=1)
        ends = np.cumsum([len(guess) for guess in guesses])
        kept = [guess[right] for guess, right in zip(guesses, np.split(looks_right, ends[:-1]), strict=True)]
        return [right[:MANY] if len(right) else guess for right, guess in zip(kept, guesses, strict=True)]

    def _guesses(self, lane: int, direction: int) -> NDArray[np.int64]:
        """States that any action may have led to, that of the policy's own choice first."""
        ways, possible = self._ways[lane], self._possible[lane]
        following = ways.following(possible)
        own = ways.action_S[possible[:1]].astype(np.int64)
        chosen = possible[:1] if own[0] == Actions.done else following[0, own]
        every = np.concatenate((chosen, possible, following.ravel()))
        every = every[every >= 0]
        every = every[ways.states(every).direction == direction]
        _, first = np.unique(every, return_index=True)
        return every[np.sort(first)]

    def _seen(self, lanes: NDArray[np.int64], guesses: list[NDArray[np.int64]], owner: NDArray) -> NDArray[np.int64]:
        """What would be seen in each guess, one row for each."""
        grid_PC = self._grid_NC[owner]
        at, direction = np.zeros(len(owner), np.int64), np.zeros(len(owner), np.int64)
        carrying = np.full(len(owner), EMPTY, np.uint8)
        first = 0
        for lane, guess in zip(lanes, guesses, strict=True):
            ways, cells = self._ways[lane], self._flat_NC[lane]
            states, rows = ways.states(guess), np.arange(first, first + len(guess))
            at[rows], direction[rows] = cells[states.cell], states.direction
            if ways.key_code != EMPTY:
                carried = states.key == len(ways.key_cells)
                carrying[rows[carried]] = ways.key_code
                grid_PC[rows[~carried], cells[ways.key_cells[states.key[~carried]]]] = ways.key_code
            if len(ways.door_cells_D):
                door_code = ways.layout.codes[tuple(ways.cells_C2[ways.door_cells_D].T)].astype(np.int64)
                grid_PC[rows[:, None], cells[ways.door_cells_D]] = door_code - door_code % 3 + states.doors
            first += len(guess)
        return self._view(grid_PC, np.arange(len(owner)), at, direction, carrying, self._see_through_N[owner])

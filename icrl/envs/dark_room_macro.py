"""Dark Room with macro actions: one action is three moves in a row, and every task has a set of actions of its own.

Suffixes: N lanes, S cells, M = 125 macros, K actions of a set, P = 3 moves of a macro.
"""

from collections.abc import Sequence
from functools import lru_cache
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.base import BatchedEnv
from icrl.envs.grid import NUM_ACTIONS, cell_positions, next_cells
from icrl.errors import UsageError
from icrl.seeding import Streams, permutation, stream_keys
from icrl.tasks import (
    Anchors,
    Axis,
    ReferencePolicy,
    Split,
    Task,
    TaskFamily,
    check_count,
    ood_numbers,
    split_numbers,
    varying_axes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

MOVES = 3
NUM_MACROS = NUM_ACTIONS**MOVES
UNSEEN_MACROS = 25
"""So many of the 125 macros are in the sets of "unseen-actions" only."""
TEST_GOALS = 16


@lru_cache
def macro_paths(size: int) -> NDArray[np.int64]:
    """The cells that each macro passes, shape `(S, M, P)`; macro m makes the moves that are m's digits in base 5."""
    digit_MP = np.stack(np.unravel_index(np.arange(NUM_MACROS), (NUM_ACTIONS,) * MOVES), axis=1)
    next_SA, cell_SM = next_cells(size), np.repeat(np.arange(size * size)[:, None], NUM_MACROS, axis=1)
    path = []
    for move_M in digit_MP.T:
        cell_SM = next_SA[cell_SM, move_M]
        path.append(cell_SM)
    path_SMP = np.stack(path, axis=-1)
    path_SMP.flags.writeable = False
    return path_SMP


class DarkRoomMacro(TaskFamily):
    """The 9×9 room whose actions are drawn anew for every task: K of the 125 sequences of three moves.

    Action a of a task makes the three moves of its macro `macros[a]`. The first move that ends at the goal pays 1 and
    ends the episode. What an action does is not observed but by its effect. The goals of the test tasks, and of both
    out-of-distribution sets, are not met in training.

    Args:
        size: cells along a side. horizon: actions of an episode.
        num_actions: K, from 2 to 25.
        train, validation, test: number of tasks in each split.
        hold: "reward" puts every goal into the corner (0, 0), "dynamics" gives every task one and the same set.
    """

    name = "dark-room-macro"
    version = 1
    source = "Sinii et al. 2024 (Headless-AD); how sets and goals are drawn is ours"
    axes: tuple[Axis, ...] = ("reward", "dynamics")
    ood_sets = MappingProxyType({"unseen-actions": f"{UNSEEN_MACROS} of the 125 macros, which no other task has"})

    def __init__(
        self,
        *,
        size: int = 9,
        horizon: int = 20,
        num_actions: int = 20,
        train: int = 10_000,
        validation: int = 100,
        test: int = 200,
        hold: Sequence[str] = (),
    ) -> None:
        check_count("size", size, at_least=5)
        check_count("horizon", horizon, at_least=1)
        check_count("train", train, at_least=1)
        check_count("validation", validation, at_least=0)
        check_count("test", test, at_least=1)
        if not 2 <= num_actions <= UNSEEN_MACROS:
            raise UsageError(f"num_actions={num_actions}: expected a set of 2 to {UNSEEN_MACROS} actions")
        self.axes = varying_axes(self.name, type(self).axes, hold)
        if "dynamics" not in self.axes:
            raise UsageError(
                f"{self.name} with hold={list(hold)}: with one set of actions it is dark-room-ql; hold reward"
            )
        held = [axis for axis in type(self).axes if axis not in self.axes]
        self.options: dict[str, Any] = {
            "size": size, "horizon": horizon, "num_actions": num_actions, "train": train, "validation": validation,
            "test": test, "hold": held,
        }  # fmt: skip
        self.size, self.horizon, self.num_actions = size, horizon, num_actions
        self.start_cell = (size // 2) * size + size // 2
        self.num_tasks = {"train": train, "validation": validation, "test": test}
        self.observation_space = gym.spaces.MultiDiscrete([size, size])
        self.action_space = gym.spaces.Discrete(num_actions)

    def split(self, seed: int) -> Split:
        macros = permutation(seed, f"{self.name} macros", NUM_MACROS)
        cells = permutation(seed, f"{self.name} goals", self.size**2)
        cells = cells[cells != self.start_cell]
        unseen, usual = macros[:UNSEEN_MACROS], macros[UNSEEN_MACROS:]
        test = self.num_tasks["test"]
        numbers = np.arange(sum(self.num_tasks.values()))
        # The first numbers are the test tasks.
        tasks = [
            *self._tasks(numbers[:test], seed, usual, cells[:TEST_GOALS]),
            *self._tasks(numbers[test:], seed, usual, cells[TEST_GOALS:]),
        ]
        ood = {"unseen-actions": self._tasks(ood_numbers(0, test), seed, unseen, cells[:TEST_GOALS])}
        return split_numbers(numbers, self.num_tasks, tasks.__getitem__, seed, ood)

    def _tasks(self, numbers: NDArray, seed: int, macros: NDArray, goals: NDArray) -> list[Task]:
        """One task per number: a set of K of these macros, and one of these goals."""
        streams = Streams(stream_keys(seed, f"{self.name} tasks", numbers))
        chosen_NK = macros[np.argsort(streams.uniform_block(len(macros)).T, axis=1)[:, : self.num_actions]]
        goal_N = goals[streams.integers(len(goals))] if "reward" in self.axes else np.zeros(len(numbers), np.int64)
        return [
            Task(int(number), {"goal": list(divmod(int(goal), self.size)), "macros": chosen})
            for number, goal, chosen in zip(numbers, goal_N, chosen_NK.tolist(), strict=True)
        ]

    def cells_and_macros(self, tasks: Sequence[Task]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Goal cells `(N,)` and the macros of the actions `(N, K)`."""
        goal_N2 = np.array([task.params["goal"] for task in tasks], np.int64).reshape(-1, 2)
        return goal_N2 @ np.array([self.size, 1]), np.array([task.params["macros"] for task in tasks], np.int64)

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "DarkRoomMacroEnv":
        return DarkRoomMacroEnv(self, tasks, seed, index)

    def effects(self, tasks: Sequence[Task]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Of every action in every cell: whether it passes the goal, and where it ends: both `(N, S, K)`."""
        goal_N, macro_NK = self.cells_and_macros(tasks)
        path_NSKP = macro_paths(self.size)[:, macro_NK].swapaxes(0, 1)
        return (path_NSKP == goal_N[:, None, None, None]).any(axis=-1), path_NSKP[..., -1]

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        """Probability of reaching the goal: u_{h+1}(s) = mean, or max, over actions of 1{hit} + 1{no hit} u_h(s')."""
        hit_NSK, end_NSK = self.effects(tasks)
        lane_N = np.arange(len(tasks))[:, None, None]
        found = []
        for over in (np.mean, np.max):
            value_NS = np.zeros(hit_NSK.shape[:2])
            for _ in range(self.horizon):
                value_NS = over(np.where(hit_NSK, 1.0, value_NS[lane_N, end_NSK]), axis=-1)
            found.append(value_NS[:, self.start_cell])
        return Anchors(random=found[0], optimum=found[1])

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return FewestActions(self, tasks)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.drawing import draw_path

        draw_path(axes, self.size, {"goal": tuple(task.params["goal"])}, history)


class DarkRoomMacroEnv(BatchedEnv):
    """One room per lane; nothing in it is random."""

    def __init__(
        self, family: DarkRoomMacro, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None
    ) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self._goal_N, self._macro_NK = family.cells_and_macros(tasks)
        self._start_cell, self._lane_N = family.start_cell, np.arange(len(tasks))
        self._cell_N = np.full(len(tasks), family.start_cell)
        self._path_SMP, self._position_S2 = macro_paths(family.size), cell_positions(family.size)

    def _start(self, lanes: NDArray[np.int64]) -> None:
        self._cell_N[lanes] = self._start_cell

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        path_NP = self._path_SMP[self._cell_N, self._macro_NK[self._lane_N, actions]]
        hit_N = (path_NP == self._goal_N[:, None]).any(axis=1)
        # An episode ends at the goal, wherever the rest of the macro would have led.
        self._cell_N = np.where(hit_N, self._goal_N, path_NP[:, -1])
        return hit_N.astype(np.float32), hit_N

    def _observe(self) -> NDArray:
        return self._position_S2[self._cell_N]


class FewestActions:
    """The optimal policy of a known task: the goal in the fewest actions of its set."""

    def __init__(self, family: DarkRoomMacro, tasks: Sequence[Task]) -> None:
        self._size = family.size
        hit_NSK, end_NSK = family.effects(tasks)
        lane_N = np.arange(len(tasks))[:, None, None]
        far = family.size**2 + 1
        steps_NS = np.full(hit_NSK.shape[:2], far)
        for _ in range(far):
            steps_NSK = 1 + np.where(hit_NSK, 0, steps_NS[lane_N, end_NSK])
            after_NS = np.minimum(steps_NSK.min(axis=-1), far)
            if np.array_equal(after_NS, steps_NS):
                break
            steps_NS = after_NS
        self._best_NS, self._lane_N = steps_NSK.argmin(axis=-1), np.arange(len(tasks))

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        cell_N = observations[:, 0].astype(np.int64) * self._size + observations[:, 1]
        return self._best_NS[self._lane_N, cell_N]

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember: the position says it all."""

"""GridNavi: a small room, a hidden goal, and a trial of a few episodes in which to find it and go back to it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.grids.cells import DOWN, LEFT, NUM_ACTIONS, RIGHT, STAY, UP, expected_visits
from icrl.envs.kit.base import BatchedEnv
from icrl.envs.kit.drawing import PATHS_SHOW
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.seeding import permutation
from icrl.tasks import Anchors, ReferencePolicy, Split, Task, TaskFamily, check_count, ood_numbers, split_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

STEP_REWARD, GOAL_REWARD = -0.1, 1.0
"""Of a step that ends elsewhere, and of one that ends at the goal."""
_DOWN_A = np.array([-1, 0, 1, 0, 0])
_RIGHT_A = np.array([0, 1, 0, -1, 0])


class GridNavi(TaskFamily):
    """VariBAD's room: 5×5 cells, 15 steps from the corner (0, 0), a goal in any cell but the corner's four.

    A step that ends at the goal pays 1, any other −0.1; an episode is never terminated. VariBAD's trial is four
    episodes with one goal.

    Args:
        size: cells along a side.
        horizon: steps of an episode.
        validation, test: goals kept out of training. VariBAD names no split.
        largest: cells along a side of the rooms of the out-of-distribution set "larger", which the observations then
            have room for; there is no such set where it equals `size`, and 0 stands for that.
    """

    name = "grid-navi"
    version = 1
    source = "Zintgraf et al. 2020 (VariBAD)"
    trial = 4
    picture_shows = PATHS_SHOW

    def __init__(
        self, *, size: int = 5, horizon: int = 15, validation: int = 2, test: int = 5, largest: int = 0
    ) -> None:
        largest = largest or size
        check_count("size", size, at_least=3)
        check_count("horizon", horizon, at_least=1)
        check_count("validation", validation, at_least=0)
        check_count("test", test, at_least=1)
        check_count("largest", largest, at_least=size)
        self.options["largest"] = largest
        self.size, self.horizon, self.largest = size, horizon, largest
        self.goals = far_goals(size, (0, 0))
        if validation + test >= len(self.goals):
            raise UsageError(
                f"validation={validation} and test={test} leave none of the {len(self.goals)} goals to train on: "
                "lower them"
            )
        self.num_tasks = {
            "train": len(self.goals) - validation - test, "validation": validation, "test": test,
        }  # fmt: skip
        self.observation_space = gym.spaces.MultiDiscrete([largest, largest])
        self.action_space = gym.spaces.Discrete(NUM_ACTIONS)
        self.ood_sets = {
            "near": "goals in the four cells at the start, where training has none",
            "other-start": f"from the opposite corner ({size - 1}, {size - 1})",
        }
        if largest > size:
            self.ood_sets["larger"] = f"a room of {largest}×{largest} cells, goals outside the room of training"

    def split(self, seed: int) -> Split:
        order = permutation(seed, f"{self.name} split", len(self.goals))
        near = [goal for goal in np.ndindex(self.size, self.size) if goal not in self.goals]
        corner = (self.size - 1, self.size - 1)
        outside = [goal for goal in np.ndindex(self.largest, self.largest) if max(goal) >= self.size]
        # Those that an episode is too short for are left out, unless all are: nobody can earn more there than another.
        beyond = [goal for goal in outside if sum(goal) <= self.horizon] or outside
        sets = {
            "near": [_params(goal, (0, 0), self.size) for goal in near],
            "other-start": [_params(goal, corner, self.size) for goal in far_goals(self.size, corner)],
            "larger": [_params(goal, (0, 0), self.largest) for goal in beyond],
        }
        ood = {
            name: [Task(int(n), p) for n, p in zip(ood_numbers(i, len(sets[name])), sets[name], strict=True)]
            for i, name in enumerate(self.ood_sets)
        }
        return split_numbers(
            order,
            self.num_tasks,
            lambda number: Task(number, _params(self.goals[number], (0, 0), self.size)),
            seed,
            ood,
        )

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "GridNaviEnv":
        return GridNaviEnv(self, tasks, seed, index)

    def noisy_return(self, tasks: Sequence[Task], epsilon: float) -> NDArray[np.float64]:
        """Exact expected return, shape `(N,)`, of acting at random with probability ε and else optimally."""
        goal_N2, start_N2, size_N = cells(tasks, "goal"), cells(tasks, "start"), sizes(tasks)
        visits_N = np.empty(len(tasks))
        for size in np.unique(size_N):
            lanes = np.flatnonzero(size_N == size)
            goal, start = goal_N2[lanes] @ (size, 1), start_N2[lanes] @ (size, 1)
            goal_G, which = np.unique(goal, return_inverse=True)
            visits_N[lanes] = expected_visits(int(size), goal_G, epsilon, self.horizon)[which, start]
        return GOAL_REWARD * visits_N + STEP_REWARD * (self.horizon - visits_N)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        return Anchors(random=self.noisy_return(tasks, 1.0), optimum=self.noisy_return(tasks, 0.0))

    def bayes_optimal(self, episodes: int, tasks: Sequence[Task] | None = None) -> NDArray[np.float64] | None:
        """As in `TaskFamily`, its prior being all goals of the three splits alike; None where the search would be too
        long."""
        from icrl.envs.grids.grid_navi_belief import best_search

        search = best_search(self.size, self.goals, self.horizon, episodes)
        if search is None:
            return None
        steps_at_goal_EG = search.steps_at_goal()
        if tasks is not None:
            steps_at_goal_EG = steps_at_goal_EG[:, [self.goals.index(tuple(task.params["goal"])) for task in tasks]]
        return (GOAL_REWARD * steps_at_goal_EG + STEP_REWARD * (self.horizon - steps_at_goal_EG)).mean(axis=1)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return StraightToGoal(cells(tasks, "goal"))

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.kit.drawing import draw_path

        draw_path(axes, task.params["size"], {"goal": tuple(task.params["goal"])}, history)


class GridNaviEnv(BatchedEnv):
    """One room per lane; rooms may differ in size. Nothing is drawn at random.

    Args:
        family: gives the spaces and the horizon.
        tasks, seed, index: as in `TaskFamily.make`.
    """

    vouched = True
    per_lane = ("_goal_N2", "_start_N2", "_last_N", "_row_N", "_column_N")

    def __init__(self, family: GridNavi, tasks: Sequence[Task], seed: int, index: Sequence[int] | None) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self._goal_N2, self._start_N2 = cells(tasks, "goal"), cells(tasks, "start")
        self._last_N = sizes(tasks) - 1
        self._row_N, self._column_N = self._start_N2.T.copy()

    def _start(self, lanes: NDArray[np.int64]) -> None:
        self._row_N[lanes], self._column_N[lanes] = self._start_N2[lanes].T

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        self._row_N = np.clip(self._row_N + _DOWN_A[actions], 0, self._last_N)
        self._column_N = np.clip(self._column_N + _RIGHT_A[actions], 0, self._last_N)
        there_N = (self._row_N == self._goal_N2[:, 0]) & (self._column_N == self._goal_N2[:, 1])
        return np.where(there_N, GOAL_REWARD, STEP_REWARD).astype(np.float32), np.zeros(self.num_envs, bool)

    def _observe(self) -> NDArray[np.int64]:
        return np.stack((self._row_N, self._column_N), axis=1)


class StraightToGoal(PerLane):
    """The optimal policy of known goals, shape `(N, 2)`: first to the goal's row, then to its column, then stay."""

    per_lane = ("_goal_N2",)

    def __init__(self, goal_N2: NDArray[np.int64]) -> None:
        self._goal_N2 = goal_N2

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        down_N, right_N = (self._goal_N2 - observations).T
        sideways_N = np.where(right_N > 0, RIGHT, np.where(right_N < 0, LEFT, STAY))
        return np.where(down_N > 0, DOWN, np.where(down_N < 0, UP, sideways_N))

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember: the position says it all."""


def far_goals(size: int, start: tuple[int, int]) -> list[tuple[int, int]]:
    """All cells but the start and those next to it, diagonally too."""
    return [
        (row, column) for row, column in np.ndindex(size, size) if max(abs(row - start[0]), abs(column - start[1])) > 1
    ]


def cells(tasks: Sequence[Task], what: str) -> NDArray[np.int64]:
    """(row, column) of the tasks' "goal" or "start", shape `(N, 2)`."""
    return np.array([task.params[what] for task in tasks], np.int64).reshape(-1, 2)


def sizes(tasks: Sequence[Task]) -> NDArray[np.int64]:
    """Cells along a side of the tasks' rooms, shape `(N,)`."""
    return np.array([task.params["size"] for task in tasks], np.int64)


def _params(goal: tuple[int, int], start: tuple[int, int], size: int) -> dict:
    return {"goal": [int(goal[0]), int(goal[1])], "start": list(start), "size": size}

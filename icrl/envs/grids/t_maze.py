"""Passive T-Maze: a cue at the start, a long corridor, and at its end a choice that only the cue can tell."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.base import BatchedEnv
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.seeding import permutation
from icrl.tasks import Anchors, ReferencePolicy, Split, Task, TaskFamily, check_count, ood_numbers, split_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

RIGHT, UP, LEFT, DOWN = range(4)
MOST_CUES = 16
"""There are 2^cues tasks."""


class PassiveTMaze(TaskFamily):
    """A corridor of any length, and a task that says which arm each cue stands for.

    In every episode one of the cues, all equally likely, is seen at the first step and never again. Memory within the
    episode is what the paper's maze tests; there the cue shows the arm itself. Here its meaning belongs to the task
    and is found out over episodes: one of 2^cues assignments, all equally likely.

    A step that does not bring the agent to where it would be by always having gone right costs 1 / length; the last
    step pays 1 in the right arm. Whoever strays once can no longer reach an arm in time.

    Args:
        length: steps from the start to the junction; an episode has one more.
        cues: how many there are.
        validation, test: assignments kept out of training.
        longest: length of the out-of-distribution set "longer", which the horizon then allows for; there is no such
            set where it equals `length`, and 0 stands for that.
    """

    picture_shows = (
        "The cue of the first step and the way it stands for, which the task says; the path runs from dark to bright."
    )
    name = "passive-t-maze"
    version = 1
    trial = 20
    source = "Ni et al. 2023 (When do transformers shine in RL?); the meaning of the cues is added here"

    def __init__(
        self, *, length: int = 10, cues: int = 6, validation: int = 4, test: int = 12, longest: int = 0
    ) -> None:
        longest = longest or length
        check_count("length", length, at_least=1)
        check_count("cues", cues, at_least=1)
        check_count("validation", validation, at_least=0)
        check_count("test", test, at_least=1)
        check_count("longest", longest, at_least=length)
        if cues > MOST_CUES:
            raise UsageError(f"cues={cues} makes 2^{cues} tasks: expected at most {MOST_CUES}")
        if validation + test >= 2**cues:
            raise UsageError(
                f"validation={validation} and test={test} leave none of the {2**cues} tasks to train on: lower them, "
                "or raise cues"
            )
        self.options["longest"] = longest
        self.length, self.cues, self.horizon = length, cues, longest + 1
        self.num_tasks = {"train": 2**cues - validation - test, "validation": validation, "test": test}
        self.observation_space = gym.spaces.Discrete(cues + 4)
        self.action_space = gym.spaces.Discrete(4)
        self._ood_lengths = {}
        if length > 1:
            self._ood_lengths["shorter"] = length // 2
        if longest > length:
            self._ood_lengths["longer"] = longest
        self.ood_sets = {
            name: f"a corridor of {other} steps rather than {length}" for name, other in self._ood_lengths.items()
        }

    def split(self, seed: int) -> Split:
        order = permutation(seed, f"{self.name} split", 2**self.cues)
        meant = order[: self.num_tasks["test"]]
        ood = {
            name: [
                self._task(int(number), int(assignment), length)
                for number, assignment in zip(ood_numbers(i, len(meant)), meant, strict=True)
            ]
            for i, (name, length) in enumerate(self._ood_lengths.items())
        }
        return split_numbers(order, self.num_tasks, lambda number: self._task(number, number, self.length), seed, ood)

    def _task(self, number: int, assignment: int, length: int) -> Task:
        """Cue c means the upper arm, 1, where bit c of the assignment is set, and else the lower one, 0."""
        return Task(number, {"meaning": [assignment >> cue & 1 for cue in range(self.cues)], "length": length})

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "PassiveTMazeEnv":
        return PassiveTMazeEnv(self, tasks, seed, index)

    def noisy_return(self, tasks: Sequence[Task], epsilon: float) -> NDArray[np.float64]:
        """Exact expected return, shape `(N,)`, of acting at random with probability ε and else optimally.

        With q = 1 − 3ε/4, the chance of the right action, it is −1 + Σ_{t=1…L} q^t / L + q^(L+1).
        """
        right = 1.0 - 0.75 * epsilon
        length_N = lengths(tasks)
        found_N = np.empty(len(tasks))
        for length in np.unique(length_N):
            powers = right ** np.arange(1, length + 2)
            found_N[length_N == length] = powers[:-1].mean() - 1.0 + powers[-1]
        return found_N

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        return Anchors(random=self.noisy_return(tasks, 1.0), optimum=self.noisy_return(tasks, 0.0))

    def bayes_optimal(self, episodes: int, tasks: Sequence[Task] | None = None) -> NDArray[np.float64] | None:
        """As in `TaskFamily`, and the same on every task.

        An episode pays 1 if its cue was seen before, and else 1/2, a guess that settles it.
        """
        seen_E = 1.0 - (1.0 - 1.0 / self.cues) ** np.arange(episodes)
        return np.asarray(0.5 + 0.5 * seen_E, np.float64)

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return CueFollower(self.cues, meanings(tasks))

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.grids.t_maze_drawing import draw_t_maze

        draw_t_maze(axes, task.params["length"], task.params["meaning"], history, way)


class PassiveTMazeEnv(BatchedEnv):
    """One maze per lane; lengths may differ. A lane's stream gives the cue of every episode, and nothing else.

    An observation is the cue at the first step; then `cues` in the corridor, `cues + 1` at the junction, `cues + 2` in
    the upper arm and `cues + 3` in the lower one.

    Args:
        family: gives the spaces, the horizon and the number of cues.
        tasks, seed, index: as in `TaskFamily.make`.
    """

    vouched = True
    per_lane = ("_meaning_NK", "_length_N", "_cost_N", "_cue_N", "_along_N", "_arm_N")

    def __init__(self, family: PassiveTMaze, tasks: Sequence[Task], seed: int, index: Sequence[int] | None) -> None:
        super().__init__(family.observation_space, family.action_space, len(tasks), family.horizon, seed, index)
        self._cues = family.cues
        self._meaning_NK, self._length_N = meanings(tasks), lengths(tasks)
        self._cost_N = 1.0 / self._length_N
        self._cue_N = np.zeros(len(tasks), np.int64)
        self._along_N = np.zeros(len(tasks), np.int64)
        self._arm_N = np.zeros(len(tasks), np.int64)
        """0 outside the arms, 1 in the upper and 2 in the lower one."""

    def _start(self, lanes: NDArray[np.int64]) -> None:
        self._cue_N[lanes] = self.streams.integers(self._cues, lanes)
        self._along_N[lanes] = 0
        self._arm_N[lanes] = 0

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        # The junction is reached one step before the last at the earliest, so nobody is in an arm before that.
        turns_N = (self._along_N == self._length_N) & ((actions == UP) | (actions == DOWN))
        self._arm_N = np.where(turns_N, np.where(actions == UP, 1, 2), 0)
        moved_N = self._along_N + (actions == RIGHT) - (actions == LEFT)
        self._along_N = np.clip(moved_N, 0, self._length_N)
        ended_N = self.steps == self._length_N
        paid_N = self._arm_N == 2 - self._meaning_NK[self._all_lanes, self._cue_N]
        late_N = self._along_N <= self.steps
        reward_N = np.where(ended_N, paid_N, np.where(late_N, -self._cost_N, 0.0))
        return reward_N.astype(np.float32), ended_N

    def _observe(self) -> NDArray[np.int64]:
        place_N = self._cues + np.where(self._along_N == self._length_N, 1 + self._arm_N, 0)
        return np.where(self.steps == 0, self._cue_N, place_N)


class CueFollower(PerLane):
    """The optimal policy of known meanings, shape `(N, K)`: to the right, and into the arm that the cue stands for."""

    per_lane = ("_meaning_NK", "_turn_N")
    lane_counters = ("_lane_N",)

    def __init__(self, num_cues: int, meaning_NK: NDArray[np.int64]) -> None:
        self._num_cues = num_cues
        self._meaning_NK = meaning_NK
        self._turn_N = np.full(len(meaning_NK), UP)
        self._lane_N = np.arange(len(meaning_NK))

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        seen_N = observations < self._num_cues
        means_up_N = self._meaning_NK[self._lane_N, np.where(seen_N, observations, 0)] == 1
        self._turn_N = np.where(seen_N, np.where(means_up_N, UP, DOWN), self._turn_N)
        return np.where(observations == self._num_cues + 1, self._turn_N, RIGHT)

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to learn: the next episode begins with its own cue."""


def meanings(tasks: Sequence[Task]) -> NDArray[np.int64]:
    """The arm that each cue stands for, 1 the upper and 0 the lower one, shape `(N, K)`."""
    return np.array([task.params["meaning"] for task in tasks], np.int64).reshape(len(tasks), -1)


def lengths(tasks: Sequence[Task]) -> NDArray[np.int64]:
    """Steps from the start to the junction, shape `(N,)`."""
    return np.array([task.params["length"] for task in tasks], np.int64)


def way(length: int, actions: Sequence[int]) -> NDArray[np.int64]:
    """Where an episode's actions lead, shape `(2, steps + 1)`: steps along the corridor, and −1, 0 or 1 across it."""
    along, across = [0], [0]
    for action in actions:
        here = along[-1]
        turned = here == length and action in (UP, DOWN)
        along.append(min(max(here + (action == RIGHT) - (action == LEFT), 0), length))
        across.append((1 if action == UP else -1) if turned else 0)
    return np.array([along, across])

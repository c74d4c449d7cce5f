"""Tabular Q-learning (Watkins, 1989) of thousands of tasks at once: one table per lane.

Suffixes: N lanes, S observations, A actions.
"""

import numpy as np
from numpy.typing import NDArray

from icrl.data_gen.learners.protocol import EpisodeCounter, LearnerSetting
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.spaces import choices, counter, describe_space, num_cells, space_to_dict
from icrl.tasks import TaskFamily

LARGEST_TABLES = 2e9
"""Values in the tables of all lanes together: 16 GB."""


def _cells(family: TaskFamily) -> float:
    """Values in the table of one lane."""
    return num_cells(family.observation_space) * num_cells(family.action_space)


class QLearning(PerLane):
    """Q(s, a) ← Q(s, a) + α [r + γ max_a' Q(s', a') − Q(s, a)], with ε-greedy actions.

    The bracket's second term is left out where the episode terminated, and stays where it was truncated. ε falls
    linearly from 1 to `final_epsilon` over the first `explore_fraction` of the episodes. Equal values are tied at
    random.

    Args:
        step_size: α. discount: γ. final_epsilon, explore_fraction: of the schedule.

    Raises:
        UsageError: where an option is out of range, or the tables are too large.
    """

    # Of the table `_base_N` alone says which rows are whose.
    per_lane = ("_base_N", "_is_missing_NA", "_counter", "_streams")

    def __init__(
        self,
        setting: LearnerSetting,
        *,
        step_size: float = 0.5,
        discount: float = 0.9,
        final_epsilon: float = 0.0,
        explore_fraction: float = 0.8,
    ) -> None:
        for name, value in (("step_size", step_size), ("discount", discount), ("final_epsilon", final_epsilon)):
            if not 0 <= value <= 1:
                raise UsageError(f"{name}={value}: expected a number from 0 to 1")
        if not 0 < explore_fraction <= 1:
            raise UsageError(f"explore_fraction={explore_fraction}: expected a share above 0 and up to 1")
        cells, seen = _cells(setting.family), setting.family.observation_space
        self._cell = counter(seen)
        actions = choices(setting.family.action_space)
        self._first = actions.start
        if len(setting.tasks) * cells > LARGEST_TABLES:
            raise UsageError(
                f"q-learning keeps a value for every observation and action; those of {setting.family.name} are "
                f"{cells:.2g} for each of {len(setting.tasks):,} histories at once: lower histories_per_shard"
            )
        num_lanes, num_seen, self._num_actions = len(setting.tasks), int(num_cells(seen)), len(actions)
        # Row n · S + s of one tall table: a row per (lane, observation), which one `take` gathers.
        self.table = np.zeros((num_lanes * num_seen, self._num_actions))
        self._base_N = np.arange(num_lanes) * num_seen
        valid_N = setting.family.valid_actions(setting.tasks)
        self._is_missing_NA = None
        if valid_N is not None:
            # An action that a task does not have is neither explored nor ever worth the most.
            self._is_missing_NA = np.arange(self._num_actions) >= valid_N[:, None]
            self.table[self._is_missing_NA.repeat(num_seen, axis=0)] = -np.inf
        # The smallest integers that count the actions: the narrower, the faster to sum and compare.
        self._count_dtype = np.min_scalar_type(-self._num_actions - 1)
        self.step_size, self.discount = step_size, discount
        self._final_epsilon, self._exploring = final_epsilon, explore_fraction * setting.episodes
        self._counter = EpisodeCounter(num_lanes)
        self._streams = setting.streams("q-learning")

    @staticmethod
    def misfit(family: TaskFamily) -> str:
        if choices(family.action_space) is None:
            acts = describe_space(space_to_dict(family.action_space))
            return f"compares actions one by one, and those of {family.name} are of {acts}"
        if not np.isfinite(num_cells(family.observation_space)):
            seen = describe_space(space_to_dict(family.observation_space))
            return f"keeps a table of observations, and the {seen} of {family.name} is not countable"
        if (cells := _cells(family)) > LARGEST_TABLES:
            return f"keeps a value for every observation and action, and those of {family.name} are {cells:.2g}"
        return ""

    def epsilon(self) -> NDArray[np.float64]:
        """Shape `(N,)`: the probability of a random action in each lane's present episode."""
        left_N = np.maximum(1.0 - self._counter.episode / self._exploring, 0.0)
        return self._final_epsilon + (1.0 - self._final_epsilon) * left_N

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        # One draw decides all: its upper half whether to explore, its lower half which action.
        bits_N = self._streams.bits()
        explore_N = (bits_N >> np.uint64(32)) * 2.0**-32 < self.epsilon()
        pick_N = (bits_N & np.uint64(0xFFFFFFFF)) * 2.0**-32
        value_NA = self.table.take(self._rows(observations), axis=0)
        best_NA = value_NA == value_NA.max(axis=1, keepdims=True)
        best_NA |= explore_N[:, None]
        if self._is_missing_NA is not None:
            best_NA &= ~self._is_missing_NA
        # The pick-th of the allowed actions, which are all of them where the lane explores.
        count_NA = best_NA.cumsum(axis=1, dtype=self._count_dtype)
        chosen_N = (pick_N * count_NA[:, -1]).astype(self._count_dtype)
        chosen_N = (count_NA <= chosen_N[:, None]).sum(axis=1)
        return chosen_N + self._first if self._first else chosen_N

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations) -> None:
        cell_N = self._rows(observations) * self._num_actions + (actions - self._first if self._first else actions)
        next_N = self.table.take(self._rows(next_observations), axis=0).max(axis=1)
        target_N = rewards + self.discount * np.where(terminated, 0.0, next_N)
        flat = self.table.reshape(-1)
        flat[cell_N] += self.step_size * (target_N - flat[cell_N])
        self._counter.update(terminated, truncated)

    def _rows(self, observations: NDArray) -> NDArray[np.int64]:
        return self._base_N + self._cell(observations)

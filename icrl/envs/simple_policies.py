"""Policies that need no task: uniformly random, and the action zero. One lane per stream."""

from collections.abc import Sequence

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError
from icrl.seeding import Streams
from icrl.tasks import Task, TaskFamily


class UniformActions:
    """Every action of the space equally likely; of a Discrete space, every one that means something in the task.

    Raises:
        UsageError: for a Box that is not bounded.
    """

    def __init__(self, family: TaskFamily, tasks: Sequence[Task], streams: Streams) -> None:
        self._space, self._streams = family.action_space, streams
        if isinstance(self._space, gym.spaces.Discrete):
            valid_N = family.valid_actions(tasks)
            self._count: int | NDArray[np.int64] = int(self._space.n) if valid_N is None else valid_N
        elif not self._space.is_bounded():
            raise UsageError(f"{family.name} has actions without bounds: there is no uniform random policy")

    def act(self, observations: NDArray) -> NDArray:
        if isinstance(self._space, gym.spaces.Discrete):
            return self._streams.integers(self._count)
        low, high = self._space.low, self._space.high
        share = self._streams.uniform_block(low.size).T.reshape(-1, *low.shape)
        return (low + share * (high - low)).astype(np.float32)

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember."""


class ZeroAction:
    """The action 0, or the nearest that a Box has. With actions that cost something it beats the random policy.

    Raises:
        UsageError: where actions are not continuous.
    """

    def __init__(self, family: TaskFamily, tasks: Sequence[Task], streams: Streams | None = None) -> None:
        space = family.action_space
        if not isinstance(space, gym.spaces.Box):
            raise UsageError(f"{family.name} has no action zero: its actions are {space}")
        self._action = np.clip(np.zeros((len(tasks), *space.shape), np.float32), space.low, space.high)

    def act(self, observations: NDArray) -> NDArray[np.float32]:
        return self._action.copy()

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember."""

"""Policies that need no task: uniformly random, and the action zero. One lane per stream."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.seeding import Streams
from icrl.spaces import check_action_space, choices, drawer, num_uniforms, zero_action
from icrl.tasks import Task, TaskFamily


class UniformActions(PerLane):
    """Every action of the space equally likely; of a Discrete space, every one that means something in the task.

    Raises:
        UsageError: for a Box that is not bounded.
    """

    per_lane = ("_streams", "_valid_N")

    def __init__(self, family: TaskFamily, tasks: Sequence[Task], streams: Streams) -> None:
        check_action_space(family.name, family.action_space)
        self._streams, self._draw = streams, drawer(family.action_space)
        self._count, self._choices = num_uniforms(family.action_space), choices(family.action_space)
        self._valid_N: NDArray[np.int64] | None = family.valid_actions(tasks)

    def act(self, observations: NDArray) -> NDArray:
        if self._valid_N is not None and self._choices is not None:
            return self._choices.start + self._streams.integers(self._valid_N)
        if self._count == 1:
            return self._draw(self._streams.uniform()[:, None])
        return self._draw(self._streams.uniform_block(self._count).T)

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember."""


class ZeroAction(PerLane):
    """The action 0, or the nearest that a Box has. With actions that cost something it beats the random policy.

    Raises:
        UsageError: where no action is like it.
    """

    per_lane = ("_action",)

    def __init__(self, family: TaskFamily, tasks: Sequence[Task], streams: Streams | None = None) -> None:
        action = zero_action(family.action_space)
        if action is None:
            raise UsageError(f"{family.name} has no action zero: its actions are {family.action_space}")
        self._action = np.repeat(action[None], len(tasks), axis=0)

    def act(self, observations: NDArray) -> NDArray:
        return self._action.copy()

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember."""

"""Learners that do not learn: the task-known optimum, and the uniform random policy."""

import numpy as np
from numpy.typing import NDArray

from icrl.data_gen.learner import LearnerSetting


class Optimal:
    """The family's optimal policy of the known task, from the first episode on."""

    def __init__(self, setting: LearnerSetting) -> None:
        self._policy = setting.family.reference_policy("optimal", setting.tasks)

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        return self._policy.act(observations)

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations) -> None:
        self._policy.observe(rewards, terminated, truncated)


class UniformRandom:
    """Every action equally likely, always."""

    def __init__(self, setting: LearnerSetting) -> None:
        self._streams = setting.streams("random policy")
        self._num_actions = int(setting.family.action_space.n)

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        return self._streams.integers(self._num_actions)

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations) -> None:
        """Nothing is learned."""

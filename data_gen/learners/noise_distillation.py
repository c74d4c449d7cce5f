"""Noise distillation: a good policy, noised from random to itself along the history, looks like learning.

AD^ε, Zisman et al. 2024, "Emergence of In-Context Reinforcement Learning from Noise Distillation".
"""

import numpy as np
from numpy.typing import NDArray

from icrl.data_gen.learners.protocol import EpisodeCounter, LearnerSetting
from icrl.data_gen.learners.reference_policies import STATE_ONE, UniformRandom
from icrl.envs.kit.simple_policies import UniformActions
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.spaces import continuous, where
from icrl.tasks import TaskFamily


class NoiseDistillation(PerLane):
    """Acts at random with probability ε and else as the reference policy does.

    Continuous actions are mixed: (1 − ε) times the policy's action and ε times a random one.

    ε falls linearly from 1 in the first episode to `final_epsilon`, where it stays for the last `final_fraction` of
    the episodes.

    Args:
        policy: kind of the family's reference policy ("optimal", "expert"); the family's best where empty.
        final_epsilon, final_fraction: of the schedule; .5 gives data that never gets good.
    """

    # The streams are those of `_random`.
    per_lane = ("_policy", "_random", "_counter")

    def __init__(
        self,
        setting: LearnerSetting,
        *,
        policy: str = "",
        final_epsilon: float = 0.0,
        final_fraction: float = 0.1,
    ) -> None:
        for name, value in (("final_epsilon", final_epsilon), ("final_fraction", final_fraction)):
            if not 0 <= value <= 1:
                raise UsageError(f"{name}={value}: expected a number from 0 to 1")
        self._policy = setting.family.reference_policy(policy or setting.family.policy_kinds[0], setting.tasks)
        self._streams = setting.streams("noise distillation")
        self._random = UniformActions(setting.family, setting.tasks, self._streams)
        self._mixes = continuous(setting.family.action_space)
        self._final_epsilon = final_epsilon
        # At least one step of the schedule: a history of one episode is all noise.
        self._falling = max((1.0 - final_fraction) * setting.episodes, 1.0)
        self._counter = EpisodeCounter(len(setting.tasks))

    @staticmethod
    def misfit(family: TaskFamily) -> str:
        if not family.policy_kinds:
            return f"adds noise to a reference policy, and {family.name} has none ({STATE_ONE})"
        return UniformRandom.misfit(family)

    def epsilon(self) -> NDArray[np.float64]:
        """Shape `(N,)`: the probability of a random action in each lane's present episode."""
        left_N = np.maximum(1.0 - self._counter.episode / self._falling, 0.0)
        return self._final_epsilon + (1.0 - self._final_epsilon) * left_N

    def act(self, observations: NDArray) -> NDArray:
        if self._mixes:
            action = np.asarray(self._policy.act(observations))
            if action.dtype.kind not in "fiu" or not np.isfinite(action).all():
                return action  # Refused where it is played.
            epsilon = self.epsilon().reshape(-1, *(1,) * (action.ndim - 1))
            # The environment rounds what is to be rounded.
            return (1.0 - epsilon) * action + epsilon * self._random.act(observations)
        explore_N = self._streams.uniform() < self.epsilon()
        return where(explore_N, self._random.act(observations), self._policy.act(observations))

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations) -> None:
        self._policy.observe(rewards, terminated, truncated)
        self._counter.update(terminated, truncated)

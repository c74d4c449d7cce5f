"""Data that show many ways to act in a bandit, and no learning: the roll-in of the Decision-Pretrained Transformer.

Suffixes: N lanes, K arms.
"""

import numpy as np
from numpy.typing import NDArray

from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.envs.bandits.multi_armed import Bandit
from icrl.lanes import PerLane
from icrl.tasks import TaskFamily


class DptRollIn(PerLane):
    """Arms drawn throughout a history from one distribution p = (1 - ω) Dir(1) + ω onehot(i) (Lee et al., 2023).

    Each history draws its own: a point of the simplex, an arm i, and ω uniform on [0, 1). So some histories pull every
    arm alike and others nearly only one, whether it is good or not. An arm that a task does not have is never pulled.
    """

    per_lane = ("_cumulative_NK", "_streams")
    adaptive = False

    @staticmethod
    def misfit(family: TaskFamily) -> str:
        return "" if isinstance(family, Bandit) else f"draws arms of bandits, and {family.name} is none"

    def __init__(self, setting: LearnerSetting) -> None:
        arms = int(setting.family.action_space.n)
        self._streams = setting.streams("dpt roll-in")
        valid_N = setting.family.valid_actions(setting.tasks)
        count_N = np.full(len(setting.tasks), arms) if valid_N is None else valid_N
        # Exponential variates, divided by their sum, are Dir(1).
        weight_NK = -np.log1p(-self._streams.uniform_block(arms).T) * (np.arange(arms) < count_N[:, None])
        weight_NK /= weight_NK.sum(axis=1, keepdims=True)
        share_N1 = self._streams.uniform()[:, None]
        one_NK = np.arange(arms) == self._streams.integers(count_N)[:, None]
        self._cumulative_NK = ((1.0 - share_N1) * weight_NK + share_N1 * one_NK).cumsum(axis=1)

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        # Of the total, which rounding may leave beside 1: so an arm of probability 0 is never drawn.
        draw_N1 = self._streams.uniform()[:, None] * self._cumulative_NK[:, -1:]
        return (self._cumulative_NK <= draw_N1).sum(axis=1)

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations) -> None:
        """Nothing: that is the point."""

"""Source learners for random tabular MDPs: they keep the posterior and plan in what they draw from it.

Legend of the shape suffixes: H steps of an episode, N lanes, S states, A actions, Z the states that follow.
"""

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.envs.mdp.tabular import (
    CONCENTRATION,
    HELD_KEY,
    REWARD_MEAN,
    TabularMdp,
    dirichlet,
    optimal_values,
)
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.tasks import Task, TaskFamily


class _PosteriorPlanner(ABC, PerLane):
    """The posterior, and a plan for the whole episode made at its start.

    A mean reward is N(m, 1) before it is seen and its rewards have the family's noise; a row of transitions is
    Dirichlet(1, …, 1). With m = 1 that is the prior that tasks are drawn from. What the family holds is known.
    """

    per_lane = ("_seen_NSAZ", "_sum_NSA", "_streams", "_known_reward_NSA", "_known_rows_NSAZ", ("_plan_HNS", 1))
    lane_counters = ("_lane_N",)

    @staticmethod
    def misfit(family: TaskFamily) -> str:
        return "" if isinstance(family, TabularMdp) else f"plans in tabular MDPs, and {family.name} is not one"

    def __init__(self, setting: LearnerSetting, name: str, prior_mean: float) -> None:
        family = setting.family
        shape = (len(setting.tasks), family.states, family.actions)
        self._family, self._prior_mean = family, prior_mean
        self._seen_NSAZ = np.zeros((*shape, family.states))
        self._sum_NSA = np.zeros(shape)
        self._streams = setting.streams(name)
        self._lane_N = np.arange(len(setting.tasks))
        self._plan_HNS: NDArray[np.int64] | None = None
        self._step = 0
        held = [Task(0, {"reward_key": HELD_KEY, "reward_mean": REWARD_MEAN, "dynamics_key": HELD_KEY,
                         "concentration": CONCENTRATION})]  # fmt: skip
        self._known_reward_NSA = None if "reward" in family.axes else np.repeat(family.mean_rewards(held), shape[0], 0)
        self._known_rows_NSAZ = None if "dynamics" in family.axes else np.repeat(family.transitions(held), shape[0], 0)

    @abstractmethod
    def _values(self) -> NDArray[np.float64]:
        """What to plan by in the episode that begins: action values, shape `(H, N, S, A)`."""

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        if self._step == 0:
            self._plan_HNS = self._values().argmax(axis=3)
        return self._plan_HNS[self._step, self._lane_N, observations]

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations) -> None:
        self._seen_NSAZ[self._lane_N, observations, actions, next_observations] += 1
        self._sum_NSA[self._lane_N, observations, actions] += rewards
        # Every episode of the family lasts its horizon, so the lanes begin theirs together.
        self._step = (self._step + 1) % self._family.horizon

    def _reward_posterior(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Mean and standard deviation of every mean reward, each `(N, S, A)`."""
        variance = self._family.noise**2
        precision_NSA = 1.0 + self._seen_NSAZ.sum(axis=3) / variance
        return (self._prior_mean + self._sum_NSA / variance) / precision_NSA, 1.0 / np.sqrt(precision_NSA)

    def _sampled_values(self) -> NDArray[np.float64]:
        """Optimal action values of one MDP from each lane's posterior, shape `(H, N, S, A)`."""
        reward_NSA, rows_NSAZ = self._known_reward_NSA, self._known_rows_NSAZ
        if reward_NSA is None:
            mean_NSA, deviation_NSA = self._reward_posterior()
            uniform = self._streams.uniform_block(2 * mean_NSA[0].size)
            radius, turn = np.split(uniform, 2)
            normal = np.sqrt(-2.0 * np.log1p(-radius)) * np.cos(2.0 * np.pi * turn)
            reward_NSA = mean_NSA + deviation_NSA * normal.T.reshape(mean_NSA.shape)
        if rows_NSAZ is None:
            uniform = self._streams.uniform_block(self._seen_NSAZ[0].size).T.reshape(self._seen_NSAZ.shape)
            rows_NSAZ = dirichlet(CONCENTRATION + self._seen_NSAZ, uniform)
        return optimal_values(reward_NSA, rows_NSAZ, self._family.horizon)


class Psrl(_PosteriorPlanner):
    """Posterior sampling: each episode follows the optimal policy of one MDP drawn from the posterior.

    Strens 2000; Osband, Russo and Van Roy 2013.

    Args:
        prior_mean: m of the prior N(m, 1) of a mean reward. 1 is the family's; with 0 the returns are those that RL²
            states for this learner.
    """

    per_lane = ()

    def __init__(self, setting: LearnerSetting, *, prior_mean: float = REWARD_MEAN) -> None:
        super().__init__(setting, "psrl", prior_mean)

    def _values(self) -> NDArray[np.float64]:
        return self._sampled_values()


class Opsrl(_PosteriorPlanner):
    """Optimistic posterior sampling: the highest of several sampled MDPs' optimal values, for each step and pair.

    Osband and Van Roy 2017, "Why is posterior sampling better than optimism for reinforcement learning?".

    Args:
        samples: MDPs drawn for each episode; 1 is posterior sampling.
        prior_mean: as in `Psrl`.
    """

    per_lane = ()

    def __init__(self, setting: LearnerSetting, *, samples: int = 10, prior_mean: float = REWARD_MEAN) -> None:
        super().__init__(setting, "opsrl", prior_mean)
        if samples < 1:
            raise UsageError(f"samples={samples}: expected at least one MDP to plan in")
        self.samples = samples

    def _values(self) -> NDArray[np.float64]:
        q_HNSA = self._sampled_values()
        for _ in range(self.samples - 1):
            np.maximum(q_HNSA, self._sampled_values(), out=q_HNSA)
        return q_HNSA


class PosteriorGreedy(_PosteriorPlanner):
    """Each episode follows the optimal policy of the posterior's mean MDP: nothing is tried for what it may teach.

    Args:
        prior_mean: as in `Psrl`.
    """

    per_lane = ()

    def __init__(self, setting: LearnerSetting, *, prior_mean: float = REWARD_MEAN) -> None:
        super().__init__(setting, "posterior-greedy", prior_mean)

    def _values(self) -> NDArray[np.float64]:
        reward_NSA, rows_NSAZ = self._known_reward_NSA, self._known_rows_NSAZ
        if reward_NSA is None:
            reward_NSA = self._reward_posterior()[0]
        if rows_NSAZ is None:
            count_NSAZ = CONCENTRATION + self._seen_NSAZ
            rows_NSAZ = count_NSAZ / count_NSAZ.sum(axis=3, keepdims=True)
        return optimal_values(reward_NSA, rows_NSAZ, self._family.horizon)

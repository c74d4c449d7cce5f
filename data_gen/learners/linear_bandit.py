"""Source learners for linear bandits: they know the arms' features and learn θ, one bandit per lane.

Suffixes: N lanes, K arms, D dimensions of a feature vector.
"""

import numpy as np
from numpy.typing import NDArray

from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.envs.bandits.linear import ContextualLinearBandit, LinearBandit, inner
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.tasks import TaskFamily

SMALLEST_NOISE = 1e-3
"""Below it the posterior of noiseless rewards would have no width left to draw from."""


class _LinearPosterior(PerLane):
    """The posterior N(mean, covariance) of θ in every lane, from the prior N(0, v I) and rewards of variance σ²."""

    per_lane = ("mean_ND", "covariance_NDD", "streams")
    lane_counters = ("_lanes_N",)

    @staticmethod
    def misfit(family: TaskFamily) -> str:
        fits = isinstance(family, LinearBandit | ContextualLinearBandit)
        return "" if fits else f"learns linear bandits, and {family.name} is not one"

    def __init__(self, setting: LearnerSetting, purpose: str, prior_variance: float, noise_variance: float) -> None:
        lanes, dimension = len(setting.tasks), setting.family.dimension
        self.family = setting.family
        self.mean_ND = np.zeros((lanes, dimension))
        self.covariance_NDD = np.tile(prior_variance * np.eye(dimension), (lanes, 1, 1))
        self.noise_variance = noise_variance
        self.streams = setting.streams(purpose)
        self._lanes_N = np.arange(lanes)

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations) -> None:
        feature_ND = self.family.features(observations)[self._lanes_N, actions]
        # Sherman and Morrison's update of the inverse of a sum, element by element: a lane's sums are its own.
        spread_ND = inner(self.covariance_NDD, feature_ND)
        variance_N1 = self.noise_variance + inner(spread_ND[:, None], feature_ND)
        surprise_N1 = rewards[:, None] - inner(self.mean_ND[:, None], feature_ND)
        self.mean_ND += spread_ND * surprise_N1 / variance_N1
        self.covariance_NDD -= spread_ND[:, :, None] * spread_ND[:, None] / variance_N1[:, :, None]


class LinearThompson(_LinearPosterior):
    """Thompson sampling with the family's own prior: the best arm of a θ drawn from the exact posterior.

    The prior is N(0, I/D) and the noise the family's σ (Agrawal and Goyal, 2013, with a known prior).
    """

    per_lane = ()

    def __init__(self, setting: LearnerSetting) -> None:
        noise = max(setting.family.noise, SMALLEST_NOISE)
        super().__init__(setting, "lin-thompson", 1.0 / setting.family.dimension, noise**2)

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        root_NDD = np.linalg.cholesky(self.covariance_NDD)
        normal_ND = np.stack([self.streams.normal() for _ in range(self.mean_ND.shape[1])], axis=1)
        theta_ND = self.mean_ND + inner(root_NDD, normal_ND)
        return inner(self.family.features(observations), theta_ND).argmax(axis=1)


class LinUCB(_LinearPosterior):
    """The arm of the largest θ̂ · φ + α sqrt(φᵀ A⁻¹ φ), A = ridge I + Σ φ φᵀ, θ̂ = A⁻¹ Σ φ r (Li et al., 2010).

    Args:
        exploration: α.
        ridge: of the regression.
    """

    per_lane = ()

    def __init__(self, setting: LearnerSetting, *, exploration: float = 1.0, ridge: float = 1.0) -> None:
        if exploration < 0:
            raise UsageError(f"exploration={exploration} is negative: expected the factor of the confidence bonus")
        if ridge <= 0:
            raise UsageError(f"ridge={ridge}: expected a positive number, or A has no inverse at first")
        super().__init__(setting, "lin-ucb", 1.0 / ridge, 1.0)
        self.exploration = exploration

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        feature_NKD = self.family.features(observations)
        spread_NKD = np.stack([inner(feature_NKD, row_ND) for row_ND in self.covariance_NDD.swapaxes(0, 1)], axis=2)
        variance_NK = sum(feature_NKD[..., d] * spread_NKD[..., d] for d in range(feature_NKD.shape[2]))
        bonus_NK = self.exploration * np.sqrt(np.maximum(variance_NK, 0.0))
        return (inner(feature_NKD, self.mean_ND) + bonus_NK).argmax(axis=1)

"""Source learners for bandits: UCB1, Thompson sampling and the empirical mean, one bandit per lane.

Suffixes: N lanes, K arms.
"""

import numpy as np
from numpy.typing import NDArray

from icrl.data_gen.learners.protocol import LearnerSetting
from icrl.envs.bandits.multi_armed import Bandit
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.tasks import TaskFamily


class _ArmStatistics(PerLane):
    """Pulls and sum of rewards of every arm, and what all bandit learners share.

    An arm that a task does not have (`TaskFamily.valid_actions`) is never pulled.
    """

    per_lane = ("pulls_NK", "sums_NK", "streams", "_missing_NK")
    lane_counters = ("_lanes_N",)

    @staticmethod
    def misfit(family: TaskFamily) -> str:
        return "" if isinstance(family, Bandit) else f"learns bandits, and {family.name} is not one"

    def __init__(self, setting: LearnerSetting, purpose: str) -> None:
        arms = int(setting.family.action_space.n)
        self.family = setting.family
        self.pulls_NK = np.zeros((len(setting.tasks), arms))
        self.sums_NK = np.zeros((len(setting.tasks), arms))
        self.streams = setting.streams(purpose)
        self._lanes_N = np.arange(len(setting.tasks))
        valid_N = setting.family.valid_actions(setting.tasks)
        self._missing_NK = None if valid_N is None else np.arange(arms) >= valid_N[:, None]

    def learn(self, observations, actions, rewards, terminated, truncated, next_observations) -> None:
        self.pulls_NK[self._lanes_N, actions] += 1
        self.sums_NK[self._lanes_N, actions] += rewards

    def _means(self) -> NDArray[np.float64]:
        return self.sums_NK / np.maximum(self.pulls_NK, 1)

    def _present(self, score_NK: NDArray[np.float64]) -> NDArray[np.float64]:
        """The scores, with that of an arm that the task does not have below all others."""
        return score_NK if self._missing_NK is None else np.where(self._missing_NK, -np.inf, score_NK)

    def _best(self, score_NK: NDArray[np.float64]) -> NDArray[np.int64]:
        """An arm of the highest score, every such arm equally likely."""
        score_NK = self._present(score_NK)
        ties_NK = score_NK == score_NK.max(axis=1, keepdims=True)
        count_NK = ties_NK.cumsum(axis=1)
        chosen_N = (self.streams.uniform() * count_NK[:, -1]).astype(np.int64) + 1
        return (count_NK < chosen_N[:, None]).sum(axis=1)


class UCB1(_ArmStatistics):
    """The arm of the highest mean_i + c · sqrt(2 ln t / n_i), after every arm once (Auer, Cesa-Bianchi, Fischer 2002).

    Args:
        exploration: c. 1 is the paper's; a smaller one has less regret on short trials.
        log_time: False leaves the growing numerator out: mean_i + c / sqrt(n_i), the baseline of the
            Decision-Pretrained Transformer (Lee et al., 2023).
        prior: every arm counts as two pulls, of which one was rewarded, before the first one; no arm has to be pulled.
            With c = 0.2 it earns what RL² prints for UCB1 (Duan et al., 2016), where 10 pulls of 50 arms occur.
    """

    per_lane = ()

    def __init__(
        self, setting: LearnerSetting, *, exploration: float = 1.0, log_time: bool = True, prior: bool = False
    ) -> None:
        super().__init__(setting, "ucb1")
        if exploration < 0:
            raise UsageError(f"exploration={exploration} is negative: expected the factor of the confidence bonus")
        self.exploration, self.log_time, self.prior = exploration, log_time, prior

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        total_N1 = np.maximum(self.pulls_NK.sum(axis=1, keepdims=True), 1)
        numerator_N1 = 2 * np.log(total_N1) if self.log_time else 1.0
        if self.prior:
            pulls_NK = self.pulls_NK + 2
            bonus_NK = self.exploration * np.sqrt(numerator_N1 / pulls_NK)
            return self._best((self.sums_NK + 1) / pulls_NK + bonus_NK)
        bonus_NK = self.exploration * np.sqrt(numerator_N1 / np.maximum(self.pulls_NK, 1))
        return self._best(np.where(self.pulls_NK == 0, np.inf, self._means() + bonus_NK))


class ThompsonSampling(_ArmStatistics):
    """Thompson (1933): the best arm of a bandit drawn from the posterior.

    The prior is Beta(1, 1) for Bernoulli rewards. For Gaussian rewards of known σ it is flat: the posterior of an
    arm's mean is N(mean_i, σ² / n_i), and every arm is pulled once first.

    Args:
        prior: for Gaussian rewards the prior N(1/2, 1/12), which has the mean and the variance of U(0, 1): the
            baseline of the Decision-Pretrained Transformer (Lee et al., 2023).
    """

    per_lane = ()

    def __init__(self, setting: LearnerSetting, *, prior: bool = False) -> None:
        super().__init__(setting, "thompson")
        self.noise, self.prior = setting.family.noise, prior

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        if self.noise is not None:
            normal_NK = np.stack([self.streams.normal() for _ in range(self.pulls_NK.shape[1])], axis=1)
            if self.prior:
                # In pulls the prior is worth 12 σ². The arms that were not pulled are apart for the sake of σ = 0.
                is_new_NK = self.pulls_NK == 0
                worth_NK = np.where(is_new_NK, 1.0, 12.0 * self.noise**2 + self.pulls_NK)
                mean_NK = np.where(is_new_NK, 0.5, (6.0 * self.noise**2 + self.sums_NK) / worth_NK)
                deviation_NK = np.where(is_new_NK, 12.0**-0.5, self.noise / np.sqrt(worth_NK))
                return self._best(mean_NK + deviation_NK * normal_NK)
            deviation_NK = self.noise / np.sqrt(np.maximum(self.pulls_NK, 1))
            draw_NK = self._means() + deviation_NK * normal_NK
            return self._best(np.where(self.pulls_NK == 0, np.inf, draw_NK))
        return self._best(self._beta(1 + self.sums_NK, 1 + self.pulls_NK - self.sums_NK))

    def _beta(self, a_NK: NDArray[np.float64], b_NK: NDArray[np.float64]) -> NDArray[np.float64]:
        """Beta(a, b) variates by inverting the distribution function at one uniform each."""
        from scipy.special import betaincinv

        uniform_NK = self.streams.uniform_block(a_NK.shape[1]).T
        return betaincinv(a_NK, b_NK, uniform_NK)


class EmpiricalMean(_ArmStatistics):
    """The arm of the highest mean so far, every arm once first: it never explores again.

    Args:
        prior: every arm counts as two pulls, of which one was rewarded, before the first one; no arm has to be pulled.
        first_of_equals: of arms that are equally good, the first, rather than any. Together with `prior` this is the
            greedy baseline of RL² (Duan et al., 2016); ties at random explore more, and earn more.
    """

    per_lane = ()

    def __init__(self, setting: LearnerSetting, *, prior: bool = False, first_of_equals: bool = False) -> None:
        super().__init__(setting, "empirical-mean")
        self.prior, self.first_of_equals = prior, first_of_equals

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        if self.prior:
            score_NK = (self.sums_NK + 1) / (self.pulls_NK + 2)
        else:
            score_NK = np.where(self.pulls_NK == 0, np.inf, self._means())
        return self._present(score_NK).argmax(axis=1) if self.first_of_equals else self._best(score_NK)

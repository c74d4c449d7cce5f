"""Multi-armed bandits: one pull is an episode of one step, a trial of n pulls is n episodes.

There is nothing to observe but that a pull is due, so whatever an agent knows of the arms it has from its context.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.kit.base import BatchedEnv
from icrl.errors import UsageError
from icrl.lanes import PerLane
from icrl.seeding import Streams, stream_keys
from icrl.tasks import (
    Anchors,
    ReferencePolicy,
    Split,
    Task,
    TaskFamily,
    check_count,
    ood_numbers,
    split_numbers,
    split_sizes,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

FAVOURED_SHARE = 0.95
"""With favoured="odd": the share of training tasks whose odd arms are good, and of test tasks whose even arms are."""

EXACT_PULLS = 12
"""`bayes_optimal` is by dynamic programming up to here, which takes under half a second."""
GITTINS_PULLS = 500
"""… and by the Gittins rule up to here, which takes 20 s on one core; time grows with the cube, memory too."""
GITTINS_TRIALS = 4_000
"""Simulated trials behind the value of a Gittins rule."""


class Bandit(TaskFamily):
    """Arms of unknown mean; a task is its list of means. Subclasses say how a pull pays.

    Args:
        num_arms: k.
        train, validation, test: number of tasks in each split; each out-of-distribution set has `test` tasks. The
            means of a task depend on the split's seed and on the task's number only, so `train` may grow and leave
            the held-out tasks as they are.
    """

    version = 1
    horizon = 1
    picture_shows = "Bars are the arms' true means, darker the more often pulled; the best arm is outlined."
    noise: float | None = None
    """Standard deviation σ of Gaussian rewards; None for rewards that are 0 or 1."""
    ranges: Mapping[str, tuple[float, float]] = MappingProxyType({})
    """The out-of-distribution sets whose means are independent and uniform: on which range."""

    def __init__(self, *, num_arms: int, train: int, validation: int, test: int) -> None:
        check_count("num_arms", num_arms, at_least=2)
        self.num_tasks = split_sizes(train, validation, test)
        self.num_arms = num_arms
        self.observation_space = gym.spaces.Discrete(1)
        self.action_space = gym.spaces.Discrete(num_arms)

    def split(self, seed: int) -> Split:
        numbers = np.arange(sum(self.num_tasks.values()))
        ood = {
            name: self._tasks(ood_numbers(position, self.num_tasks["test"]), seed, name)
            for position, name in enumerate(self.ood_sets)
        }
        return split_numbers(numbers, self.num_tasks, self._tasks(numbers, seed, "tasks").__getitem__, seed, ood)

    def _tasks(self, numbers: NDArray[np.int64], seed: int, where: str) -> list[Task]:
        """Tasks of these numbers: of the family ("tasks"), or of the out-of-distribution set of that name."""
        mean_NK = self._draw_means(Streams(stream_keys(seed, f"{self.name} {where}", numbers)), where)
        return [Task(int(number), {"means": row}) for number, row in zip(numbers, mean_NK.tolist(), strict=True)]

    def _draw_means(self, streams: Streams, where: str) -> NDArray[np.float64]:
        """The arms' means, shape `(N, K)`, one row per stream: independent, uniform on [0, 1) or the set's range."""
        low, high = self.ranges.get(where, (0.0, 1.0))
        return low + (high - low) * streams.uniform_block(self.num_arms).T

    def means(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """The arms' means, shape `(N, K)`."""
        return np.array([task.params["means"] for task in tasks], np.float64).reshape(-1, self.num_arms)

    def expected_regret(self, task: Task, history: "LearningHistory") -> NDArray[np.float64]:
        mean_K = self.means([task])[0]
        return mean_K.max() - mean_K[history.actions.astype(np.int64)]

    def noisy_return(self, tasks: Sequence[Task], epsilon: float) -> NDArray[np.float64]:
        """Exact expected reward of one pull, shape `(N,)`: at random with probability ε, else of the best arm."""
        mean_NK = self.means(tasks)
        return epsilon * mean_NK.mean(axis=1) + (1.0 - epsilon) * mean_NK.max(axis=1)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        return Anchors(random=self.noisy_return(tasks, 1.0), optimum=self.noisy_return(tasks, 0.0))

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return BestArm(self.means(tasks))

    def _bayes_trials(self, tasks: Sequence[Task] | None) -> tuple[Streams, NDArray[np.float64] | None]:
        """The trials that a Bayes agent is measured on: their streams, and the means of their arms if not drawn anew.

        Every task has the same number of them. Its arms stand in another order in each: a rule that takes the first
        of equals would else pull the first arms of the tasks first.
        """
        each = 1 if tasks is None else -(-GITTINS_TRIALS // len(tasks))
        trials = GITTINS_TRIALS if tasks is None else each * len(tasks)
        streams = Streams(stream_keys(0, "Gittins trials", np.arange(trials)))
        if tasks is None:
            return streams, None
        order_NK = streams.uniform_block(self.num_arms).T.argsort(axis=1)
        return streams, np.take_along_axis(np.repeat(self.means(tasks), each, axis=0), order_NK, axis=1)

    def episode_groups(self, num_episodes: int, pictures: int = 6) -> list[slice]:
        return pull_blocks(num_episodes, pictures)

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.kit.drawing import draw_pulls

        draw_pulls(axes, self.means([task])[0], history)


class BernoulliBandit(Bandit):
    """Arm i pays 1 with probability p_i and else 0; p_i ~ U(0, 1) as in RL².

    Out-of-distribution sets: "close", every p from U(.4, .6); "rare", every p from U(0, .2); and "odd-arms", where
    the odd arms draw from U(.5, 1) and the even ones from U(0, .5), or "uniform" where that is how tasks are.

    Args:
        num_arms, train, validation, test: as in `Bandit`.
        favoured: "none" draws every p from U(0, 1). "odd" is the shift of Algorithm Distillation's adversarial
            bandit and of Headless-AD: the odd arms (counted from 0) draw from U(.5, 1) and the even ones from
            U(0, .5) in 95% of the training and validation tasks, the other way round in 95% of the test tasks.
            Averaged over 4 to 20 arms, the random policy's regret over 300 pulls is then 127.3 in training and
            122.8 in testing (Headless-AD's figures: 127.1 and 123.0).
    """

    name = "bernoulli-bandit"
    trial = 100
    source = "Duan et al. 2016 (RL²)"
    ranges = MappingProxyType({"close": (0.4, 0.6), "rare": (0.0, 0.2)})

    def __init__(
        self,
        *,
        num_arms: int = 10,
        train: int = 10_000,
        validation: int = 100,
        test: int = 1_000,
        favoured: Literal["none", "odd"] = "none",
    ) -> None:
        super().__init__(num_arms=num_arms, train=train, validation=validation, test=test)
        self.favoured = favoured
        self.ood_sets = {"close": "every p from 0.4 to 0.6", "rare": "every p from 0 to 0.2"}
        if favoured == "none":
            self.ood_sets["odd-arms"] = "the odd arms' p from 0.5 to 1, the even ones' from 0 to 0.5"
        else:
            self.ood_sets["uniform"] = "every p from 0 to 1, odd or even"

    def _draw_means(self, streams: Streams, where: str) -> NDArray[np.float64]:
        mean_NK = super()._draw_means(streams, where)
        if where == "odd-arms":
            odd_is_good_N = np.ones(len(mean_NK), bool)
        elif where == "tasks" and self.favoured == "odd":
            is_test_N = np.arange(len(mean_NK)) < self.num_tasks["test"]
            odd_is_good_N = (streams.uniform() < FAVOURED_SHARE) ^ is_test_N
        else:
            return mean_NK
        return favoured_halves(mean_NK, odd_is_good_N)

    def bayes_optimal(self, episodes: int, tasks: Sequence[Task] | None = None) -> NDArray[np.float64] | None:
        """Expected reward of each of the first pulls without knowing the arms, for p ~ U(0, 1); else None.

        Up to 12 pulls it is the optimum, exact. Up to 500 it is what the finite-horizon Gittins rule earns, measured
        on 4,000 trials: nearly the optimum, and below it but for the error of the measurement. Beyond that, None.
        On given tasks either is played, in 4,000 trials or one a task.
        """
        from icrl.envs.bandits.gittins import BayesOptimum, bernoulli_gittins_returns

        rule = self.bayes_rule(episodes)
        if rule is None:
            return None
        streams, p_NK = self._bayes_trials(tasks)
        if episodes <= EXACT_PULLS:
            optimum = BayesOptimum(episodes, self.num_arms)
            return optimum.returns() if p_NK is None else optimum.play(p_NK, streams).mean(axis=0)
        return bernoulli_gittins_returns(episodes, self.num_arms, streams, p_NK).mean(axis=0)

    def bayes_rule(self, episodes: int) -> str | None:
        if self.favoured != "none" or episodes > GITTINS_PULLS:
            return None
        return "Bayes-optimal" if episodes <= EXACT_PULLS else "finite-horizon Gittins rule"

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "BanditEnv":
        return BanditEnv(self, self.means(tasks), seed, index)


class AdversarialBandit(BernoulliBandit):
    """The adversarial bandit of Algorithm Distillation: what is good in training is bad in testing.

    Ten Bernoulli arms. The odd arms (counted from 0) are the good ones in 95% of the training and validation tasks,
    the even ones in 95% of the test tasks: `BernoulliBandit` with favoured="odd". A trial has 100 pulls.

    Args:
        num_arms, train, validation, test: as in `Bandit`.
    """

    name = "adversarial-bandit"
    source = "Laskin et al. 2022 (Algorithm Distillation)"

    def __init__(self, *, num_arms: int = 10, train: int = 10_000, validation: int = 100, test: int = 1_000) -> None:
        super().__init__(num_arms=num_arms, train=train, validation=validation, test=test, favoured="odd")


class GaussianBandit(Bandit):
    """Arm i pays its mean plus Gaussian noise; means ~ U(0, 1), as in the Decision-Pretrained Transformer.

    Out-of-distribution sets: "wide", means from U(-1, 2); "close", means from U(.4, .6).

    Args:
        num_arms, train, validation, test: as in `Bandit`.
        noise: standard deviation σ of a reward.
    """

    name = "gaussian-bandit"
    trial = 500
    source = "Lee et al. 2023 (Decision-Pretrained Transformer)"
    ranges = MappingProxyType({"wide": (-1.0, 2.0), "close": (0.4, 0.6)})
    ood_sets = MappingProxyType(
        {"wide": "means from -1 to 2 rather than 0 to 1", "close": "means from 0.4 to 0.6 rather than 0 to 1"}
    )

    def __init__(
        self,
        *,
        num_arms: int = 5,
        train: int = 10_000,
        validation: int = 100,
        test: int = 200,
        noise: float = 0.3,
    ) -> None:
        super().__init__(num_arms=num_arms, train=train, validation=validation, test=test)
        if not 0 <= noise < np.inf:
            raise UsageError(f"noise={noise} is not a standard deviation: expected a number from 0")
        self.noise = float(noise)

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "BanditEnv":
        return BanditEnv(self, self.means(tasks), seed, index)

    def bayes_optimal(self, episodes: int, tasks: Sequence[Task] | None = None) -> NDArray[np.float64] | None:
        """Expected reward of each of the first pulls of the finite-horizon Gittins rule, measured on 4,000 trials.

        The index is that of the normal prior with the mean 1/2 and the variance 1/12 of U(0, 1), which has no
        conjugate posterior; the trials' means are those of `tasks`, or drawn from U(0, 1). So it is not the Bayes
        optimum: that is at least as high, but for the error of the measurement. None without noise, and beyond 500
        pulls.
        """
        from icrl.envs.bandits.gittins import gaussian_gittins_returns

        if self.bayes_rule(episodes) is None:
            return None
        streams, mean_NK = self._bayes_trials(tasks)
        prior = (1 / 2, 1 / 12)
        return gaussian_gittins_returns(episodes, self.num_arms, self.noise, prior, streams, mean_NK).mean(axis=0)

    def bayes_rule(self, episodes: int) -> str | None:
        return None if not self.noise or episodes > GITTINS_PULLS else "finite-horizon Gittins rule, normal prior"

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        super().draw(axes, task, history)
        fit_bars(axes, self.means([task])[0])


def pull_blocks(num_episodes: int, pictures: int) -> list[slice]:
    """Consecutive blocks of pulls, nearly equal in size, that cover the history."""
    edges = np.linspace(0, num_episodes, min(pictures, num_episodes) + 1).round().astype(int)
    return [slice(int(first), int(last)) for first, last in pairwise(edges)]


def favoured_halves(mean_NK: NDArray[np.float64], odd_is_good_N: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Means on [0, 1) squeezed into [.5, 1) for the good arms, odd or even ones, and into [0, .5) for the others."""
    is_odd_K = np.arange(mean_NK.shape[1]) % 2 == 1
    return (mean_NK + (odd_is_good_N[:, None] == is_odd_K)) / 2.0


def fit_bars(axes: "Axes", mean_K: NDArray[np.float64]) -> None:
    """Makes room in a picture of the arms for means outside [0, 1], and draws the line of 0."""
    if mean_K.min() < 0 or mean_K.max() > 1:
        low, high = min(0.0, mean_K.min()), max(0.0, mean_K.max())
        axes.set_ylim(low - 0.05 * (high - low), high + 0.15 * (high - low))
        axes.axhline(0.0, color="#9aa1ad", linewidth=0.6)
        axes.spines["bottom"].set_visible(False)


class BanditEnv(BatchedEnv):
    """One bandit per lane. Every pull draws from its lane's stream, and draws alike whichever arm it is.

    Args:
        family: gives the spaces, and the noise of the rewards.
        mean_NK: the arms' means, shape `(N, K)`.
        seed, index: as in `TaskFamily.make`.
        seen_N: what is observed throughout, shape `(N,)`; by default 0.
    """

    vouched = True
    per_lane = ("_mean_NK", "_seen_N")
    lane_counters = ("_lane_N",)

    def __init__(
        self,
        family: Bandit,
        mean_NK: NDArray[np.float64],
        seed: int,
        index: Sequence[int] | None,
        seen_N: NDArray[np.int64] | None = None,
    ) -> None:
        super().__init__(family.observation_space, family.action_space, len(mean_NK), family.horizon, seed, index)
        self._mean_NK = mean_NK
        self._noise = family.noise
        self._seen_N = np.zeros(len(mean_NK), np.int64) if seen_N is None else seen_N
        self._lane_N = np.arange(len(mean_NK))

    def _start(self, lanes: NDArray[np.int64]) -> None:
        """A pull has no state."""

    def _advance(self, actions: NDArray) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        mean_N = self._mean_NK[self._lane_N, actions]
        if self._noise is None:
            reward_N = self.streams.uniform() < mean_N
        else:
            reward_N = mean_N + self._noise * self.streams.normal()
        return reward_N.astype(np.float32), np.ones(self.num_envs, bool)

    def _observe(self) -> NDArray:
        return self._seen_N.copy()


class BestArm(PerLane):
    """The optimal policy of known means, shape `(N, K)`: always the best arm."""

    per_lane = ("_best_N",)

    def __init__(self, mean_NK: NDArray[np.float64]) -> None:
        self._best_N = mean_NK.argmax(axis=1)

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        return self._best_N.copy()

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember."""

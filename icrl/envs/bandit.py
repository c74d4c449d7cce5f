"""Multi-armed bandits: one pull is an episode of one step, a trial of n pulls is n episodes.

There is nothing to observe but that a pull is due, so whatever an agent knows of the arms it has from its context.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from icrl.envs.base import BatchedEnv
from icrl.errors import UsageError
from icrl.seeding import Streams, stream_keys
from icrl.tasks import Anchors, ReferencePolicy, Split, Task, TaskFamily, check_count, split_numbers

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from icrl.history import LearningHistory

FAVOURED_SHARE = 0.95
"""With favoured="odd": the share of training tasks whose odd arms are good, and of test tasks whose even arms are."""


class Bandit(TaskFamily):
    """Arms of unknown mean; a task is its list of means. Subclasses say how a pull pays.

    Args:
        num_arms: k.
        train, validation, test: number of tasks in each split. The means of a task depend on the split's seed and on
            the task's number only, so `train` may grow and leave the held-out tasks as they are.
    """

    version = 1
    horizon = 1

    def __init__(self, *, num_arms: int, train: int, validation: int, test: int) -> None:
        check_count("num_arms", num_arms, at_least=2)
        check_count("train", train, at_least=1)
        check_count("validation", validation, at_least=0)
        check_count("test", test, at_least=1)
        self.options = {"num_arms": num_arms, "train": train, "validation": validation, "test": test}
        self.num_arms = num_arms
        self.num_tasks = {"train": train, "validation": validation, "test": test}
        self.observation_space = gym.spaces.Discrete(1)
        self.action_space = gym.spaces.Discrete(num_arms)

    def split(self, seed: int) -> Split:
        numbers = np.arange(sum(self.num_tasks.values()))
        mean_NK = self._draw_means(Streams(stream_keys(seed, f"{self.name} tasks", numbers)))
        return split_numbers(numbers, self.num_tasks, lambda i: Task(i, {"means": mean_NK[i].tolist()}), seed)

    def _draw_means(self, streams: Streams) -> NDArray[np.float64]:
        """The arms' means, shape `(N, K)`, one row per stream: independent and uniform on [0, 1)."""
        return streams.uniform_block(self.num_arms).T

    def means(self, tasks: Sequence[Task]) -> NDArray[np.float64]:
        """The arms' means, shape `(N, K)`."""
        return np.array([task.params["means"] for task in tasks], np.float64).reshape(-1, self.num_arms)

    def noisy_return(self, tasks: Sequence[Task], epsilon: float) -> NDArray[np.float64]:
        """Exact expected reward of one pull, shape `(N,)`: at random with probability ε, else of the best arm."""
        mean_NK = self.means(tasks)
        return epsilon * mean_NK.mean(axis=1) + (1.0 - epsilon) * mean_NK.max(axis=1)

    def anchors(self, tasks: Sequence[Task]) -> Anchors:
        return Anchors(random=self.noisy_return(tasks, 1.0), optimum=self.noisy_return(tasks, 0.0))

    def reference_policy(self, kind: str, tasks: Sequence[Task]) -> ReferencePolicy:
        self.check_policy_kind(kind)
        return BestArm(self.means(tasks))

    def episode_groups(self, num_episodes: int, pictures: int = 6) -> list[slice]:
        """Consecutive blocks of pulls, nearly equal in size, that cover the history."""
        edges = np.linspace(0, num_episodes, min(pictures, num_episodes) + 1).round().astype(int)
        return [slice(int(first), int(last)) for first, last in pairwise(edges)]

    def draw(self, axes: "Axes", task: Task, history: "LearningHistory") -> None:
        from icrl.envs.drawing import draw_pulls

        draw_pulls(axes, self.means([task])[0], history)


class BernoulliBandit(Bandit):
    """Arm i pays 1 with probability p_i and else 0; p_i ~ U(0, 1) as in RL².

    Args:
        num_arms, train, validation, test: as in `Bandit`.
        favoured: "none" draws every p from U(0, 1). "odd" is the shift of Algorithm Distillation's adversarial
            bandit and of Headless-AD: the odd arms (counted from 0) draw from U(.5, 1) and the even ones from
            U(0, .5) in 95% of the training and validation tasks, the other way round in 95% of the test tasks.
            Averaged over 4 to 20 arms, the random policy's regret over 300 pulls is then 127.3 in training and
            122.8 in testing (Headless-AD's figures: 127.1 and 123.0).
    """

    name = "bernoulli-bandit"
    source = "Duan et al. 2016 (RL²)"

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
        self.options["favoured"] = self.favoured = favoured

    def _draw_means(self, streams: Streams) -> NDArray[np.float64]:
        mean_NK = super()._draw_means(streams)
        if self.favoured == "none":
            return mean_NK
        is_test_N = np.arange(len(mean_NK)) < self.num_tasks["test"]
        odd_is_good_N = (streams.uniform() < FAVOURED_SHARE) ^ is_test_N
        is_odd_K = np.arange(self.num_arms) % 2 == 1
        return (mean_NK + (odd_is_good_N[:, None] == is_odd_K)) / 2.0

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "BanditEnv":
        return BanditEnv(self, self.means(tasks), seed, index, noise=None)


class GaussianBandit(Bandit):
    """Arm i pays its mean plus Gaussian noise; means ~ U(0, 1), as in the Decision-Pretrained Transformer.

    Args:
        num_arms, train, validation, test: as in `Bandit`.
        noise: standard deviation σ of a reward.
    """

    name = "gaussian-bandit"
    source = "Lee et al. 2023 (Decision-Pretrained Transformer)"

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
        if noise < 0:
            raise UsageError(f"noise={noise} is negative: expected a standard deviation")
        self.options["noise"] = self.noise = float(noise)

    def make(self, tasks: Sequence[Task], seed: int, index: Sequence[int] | None = None) -> "BanditEnv":
        return BanditEnv(self, self.means(tasks), seed, index, noise=self.noise)


class BanditEnv(BatchedEnv):
    """One bandit per lane. Every pull draws from its lane's stream, and draws alike whichever arm it is.

    Args:
        family: gives the spaces.
        mean_NK: the arms' means, shape `(N, K)`.
        seed, index: as in `TaskFamily.make`.
        noise: σ of Gaussian rewards; None for rewards that are 0 or 1.
    """

    def __init__(
        self,
        family: Bandit,
        mean_NK: NDArray[np.float64],
        seed: int,
        index: Sequence[int] | None,
        noise: float | None,
    ) -> None:
        super().__init__(family.observation_space, family.action_space, len(mean_NK), family.horizon, seed, index)
        self._mean_NK = mean_NK
        self._noise = noise
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
        return np.zeros(self.num_envs, np.int64)


class BestArm:
    """The optimal policy of known means, shape `(N, K)`: always the best arm."""

    def __init__(self, mean_NK: NDArray[np.float64]) -> None:
        self._best_N = mean_NK.argmax(axis=1)

    def act(self, observations: NDArray) -> NDArray[np.int64]:
        return self._best_N.copy()

    def observe(self, rewards: NDArray, terminated: NDArray, truncated: NDArray) -> None:
        """Nothing to remember."""
